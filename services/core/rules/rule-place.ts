/** For messages: where the file says it, then what it is. */
export function atPlace(place: string | undefined, what: string): string {
  return place === undefined ? what : `${place}: ${what}`;
}
