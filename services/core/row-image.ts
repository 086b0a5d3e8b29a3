import type { Image } from '#core/change.ts';

/** Names of columns in order, shared by all images that have just these: equal lists of one structure are one object. */
export class ColumnList {
  readonly names: readonly string[];
  readonly #indexes: ReadonlyMap<string, number>;

  constructor(names: readonly string[]) {
    this.names = names;
    this.#indexes = new Map(names.map((name, index) => [name, index]));
  }

  /** −1 where it is not among them. */
  indexOf(name: string): number {
    return this.#indexes.get(name) ?? -1;
  }
}

/** An image of a row as an array of values beside a shared list of columns: a fraction of what a map of its own takes. */
export abstract class RowImage implements Image {
  abstract readonly columns: ColumnList;
  /** In the order of `columns`. */
  abstract readonly texts: readonly (string | null)[];

  get size(): number {
    return this.columns.names.length;
  }

  get(name: string): string | null | undefined {
    const index = this.columns.indexOf(name);
    return index < 0 ? undefined : this.texts[index];
  }

  has(name: string): boolean {
    return this.columns.indexOf(name) >= 0;
  }

  keys(): MapIterator<string> {
    return this.columns.names.values();
  }

  values(): MapIterator<string | null> {
    return this.#map().values();
  }

  entries(): MapIterator<[string, string | null]> {
    return this.#map().entries();
  }

  forEach(take: (value: string | null, name: string, map: Image) => void): void {
    this.#map().forEach(take);
  }

  [Symbol.iterator](): MapIterator<[string, string | null]> {
    return this.entries();
  }

  #map(): Map<string, string | null> {
    return new Map(this.columns.names.map((name, index) => [name, this.texts[index] ?? null]));
  }
}

/** One whose values are there. */
export class TextImage extends RowImage {
  readonly columns: ColumnList;
  readonly texts: readonly (string | null)[];

  constructor(columns: ColumnList, texts: readonly (string | null)[]) {
    super();
    this.columns = columns;
    this.texts = texts;
  }
}

/** The same for images of the same columns in the same order. */
export function columnsKey(image: Image): ColumnList | string {
  return image instanceof RowImage ? image.columns : [...image.keys()].join('\u0000');
}

/** One column's value of each image, null where it is absent. */
export function columnTexts(images: readonly Image[], name: string): (string | null)[] {
  let columns: ColumnList | null = null;
  let index = -1;
  return images.map((image) => {
    if (!(image instanceof RowImage)) return image.get(name) ?? null;
    if (image.columns !== columns) {
      columns = image.columns;
      index = columns.indexOf(name);
    }
    return image.texts[index] ?? null;
  });
}

/** A row's values in the order of some columns, or an image that has just these in that order. */
export type RowValues = readonly (string | null)[] | RowImage;

/** Some columns' values of an image, null where one is absent. */
export function valuesIn(image: Image, names: readonly string[]): RowValues {
  const isAll =
    image instanceof RowImage &&
    image.columns.names.length === names.length &&
    image.columns.names.every((name, index) => name === names[index]);
  return isAll ? image : names.map((name) => image.get(name) ?? null);
}

export function textsOf(values: RowValues): readonly (string | null)[] {
  return values instanceof RowImage ? values.texts : values;
}
