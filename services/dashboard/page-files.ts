import { existsSync } from 'node:fs';
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

/** The page as it stands in the package: beside this file, or, from dist, in the sources, since a build writes only JavaScript. */
export async function readPage(): Promise<PageFile[]> {
  const beside = new URL('page/', import.meta.url);
  const folder = existsSync(beside) ? beside : new URL('../../../services/dashboard/page/', import.meta.url);
  return Promise.all(
    FILES.map(async ([path, file, type]) => ({ path, type, content: await readFile(new URL(file, folder), 'utf8') })),
  );
}
