import { Worker } from 'node:worker_threads';
import type { Cell, Row } from '#core/envelope.ts';
import type { ModuleChange, ModuleInput } from '#core/module/module-runner.ts';
import { Refusal, UNCHANGED } from '../../../core/module/transform-api.ts';
import { readFrame, writeFrame } from './frames.ts';

/** What the process says of one input; `frames` are lines and columns of the script, from 1. */
export type Said =
  | { readonly changes: readonly ModuleChange[] }
  | { readonly fault: string; readonly frames: readonly (readonly [number, number])[] };

const INPUT_FD = 0;
const OUTPUT_FD = 3;
const WATCH_MS = 100;
const { ppid } = process;
const limitBytes = Number(process.argv.at(-1));

/** What the functions take beside the heap's limit, and a service that is gone: both end the process, whatever a function does. */
const WATCH = `
  const { pid, ppid } = process;
  const { limitBytes, parent } = require('node:worker_threads').workerData;
  setInterval(() => {
    if (process.ppid !== parent || process.memoryUsage.rss() > limitBytes) process.kill(pid, 'SIGKILL');
  }, ${WATCH_MS});
`;

/** Answers until the service closes the input; blocking, so that nothing runs between two changes. */
export function serve(transform: unknown): void {
  const functions = functionsOf(transform);
  const watch = new Worker(WATCH, { eval: true, workerData: { limitBytes, parent: ppid }, execArgv: [], env: {} });
  watch.unref();
  writeFrame(OUTPUT_FD, JSON.stringify({ functions: [...functions.keys()], tables: tablesOf(transform) }));
  for (let frame = readFrame(INPUT_FD); frame !== null; frame = readFrame(INPUT_FD))
    for (const input of JSON.parse(frame) as ModuleInput[])
      writeFrame(OUTPUT_FD, JSON.stringify(answer(functions.get(input.table), input)));
}

type TransformFunction = (change: object, tools: object) => unknown;

function functionsOf(transform: unknown): Map<string, TransformFunction> {
  const entries = typeof transform === 'object' && transform !== null ? Object.entries(transform) : [];
  return new Map(
    entries.flatMap(([name, one]) =>
      name !== 'tables' && typeof one === 'function' ? [[name, one as TransformFunction]] : [],
    ),
  );
}

function tablesOf(transform: unknown): unknown {
  return typeof transform === 'object' && transform !== null && 'tables' in transform ? transform.tables : null;
}

function answer(transform: TransformFunction | undefined, input: ModuleInput): Said {
  try {
    if (transform === undefined) return { changes: [] };
    const given: unknown[] = [];
    const returned = transform(changeOf(input), { emit: (change: unknown) => void given.push(change) });
    if (Array.isArray(returned)) given.push(...(returned as unknown[]));
    else if (returned !== null && returned !== undefined) given.push(returned);
    return { changes: given.map(readChange) };
  } catch (error) {
    return faultOf(error);
  }
}

function changeOf({ table, op, key, before, after, unchanged, time }: ModuleInput): object {
  const row: Record<string, Cell | typeof UNCHANGED> | null = after;
  if (row !== null)
    for (const name of unchanged)
      Object.defineProperty(row, name, { value: UNCHANGED, enumerable: true, writable: true, configurable: true });
  return { table, op, key, before, after: row, time };
}

function readChange(given: unknown): ModuleChange {
  if (typeof given !== 'object' || given === null || given instanceof Promise)
    throw new Refusal(`it gives ${kindOf(given)} for a change`);
  const { table, op, key, before, after } = given as Record<string, unknown>;
  if (typeof table !== 'string') throw new Refusal('it gives a change without a table');
  if (op !== undefined && op !== 'c' && op !== 'u' && op !== 'd' && op !== 'r')
    throw new Refusal('it gives a change whose op is none of c, u, d and r');
  const row = readRow(after, 'after');
  return {
    table,
    op: op ?? null,
    // Only the key's columns of these are taken.
    key: readRow(key, 'key')?.cells ?? null,
    before: readRow(before, 'before')?.cells ?? null,
    after: row?.cells ?? null,
    unchanged: row?.unchanged ?? [],
  };
}

function readRow(given: unknown, where: string): { readonly cells: Row; readonly unchanged: string[] } | null {
  if (given === null || given === undefined) return null;
  if (typeof given !== 'object') throw new Refusal(`its change has ${kindOf(given)} in ${where}, not a row`);
  const unchanged: string[] = [];
  const cells = Object.entries(given).flatMap(([name, value]): (readonly [string, Cell])[] => {
    if (value === UNCHANGED) {
      unchanged.push(name);
      return [];
    }
    return [[name, readValue(value, name)]];
  });
  return { cells: Object.fromEntries(cells), unchanged };
}

function readValue(value: unknown, column: string): Cell {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'bigint') return String(value);
  // NaN and the infinities have no JSON.
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  throw new Refusal(`it gives ${kindOf(value)} for column ${column}: a value is text, number, bigint, boolean or null`);
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'undefined';
  if (value instanceof Promise) return 'a promise';
  return Array.isArray(value) ? 'an array' : value === null ? 'null' : `a ${typeof value}`;
}

/** Words of other errors may hold values of the row (JSON.parse shows its input). */
function faultOf(error: unknown): Said {
  const stack = error instanceof Error ? String(error.stack) : '';
  const frames = [...stack.matchAll(/restage-module\.js:(\d+):(\d+)/g)].map(
    ([, line, column]) => [Number(line), Number(column)] as const,
  );
  const isOurs =
    error instanceof Refusal || (error instanceof ReferenceError && / is not there in a module: /.test(error.message));
  const fault = isOurs
    ? error.message
    : error instanceof Error
      ? `${error.name} is thrown`
      : `a ${typeof error} is thrown`;
  return { fault, frames };
}
