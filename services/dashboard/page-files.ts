import { readFile } from 'node:fs/promises';

export interface PageFile {
  readonly path: string;
  readonly type: string;
  readonly content: string;
}

const FILES: readonly (readonly [string, string, string])[] = [
  ['/', 'index.html', 'text/html; charset=utf-8'],
  ['/page.js', 'page.js', 'text/javascript; charset=utf-8'],
  ['/format.js', 'format.js', 'text/javascript; charset=utf-8'],
  ['/page.css', 'page.css', 'text/css; charset=utf-8'],
];

/** The page as it stands in the package: beside this file, and beside the part of the program that a build makes of it. */
export async function readPage(): Promise<PageFile[]> {
  const folder = new URL('page/', import.meta.url);
  return Promise.all(
    FILES.map(async ([path, file, type]) => ({ path, type, content: await readFile(new URL(file, folder), 'utf8') })),
  );
}
