/**
 * Whether the whole text matches: `*` is any run of characters, `?` any one; every other character is itself. Never slow,
 * however many `*` there are: the last one alone is tried again.
 */
export function matchesGlob(glob: string, text: string): boolean {
  const [pattern, subject] = [Array.from(glob), Array.from(text)];
  let at = 0;
  let afterStar = -1;
  let resumeAt = 0;
  for (let index = 0; index < subject.length;) {
    const wanted = pattern[at];
    if (wanted === '*') {
      at += 1;
      [afterStar, resumeAt] = [at, index];
    } else if (wanted !== undefined && (wanted === '?' || wanted === subject[index])) {
      at += 1;
      index += 1;
    } else if (afterStar >= 0) {
      resumeAt += 1;
      [at, index] = [afterStar, resumeAt];
    } else return false;
  }
  return pattern.slice(at).every((rest) => rest === '*');
}
