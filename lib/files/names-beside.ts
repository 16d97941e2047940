/* What a file or folder is called beside its place, before it gets there and after it had to leave. */
import { randomInt } from 'node:crypto';
import { threadId } from 'node:worker_threads';

/**
 * `<path>.<writer>.<kind>`. The digits say which process and thread writes. There are so many that a name of the user's own,
 * such as model.2024.old, is not taken for one of these.
 */
export function beside(path: string, kind: 'tmp' | 'old'): string {
  const writer = digits(process.pid, PID_DIGITS) + digits(threadId, THREAD_DIGITS);
  // What a killed writer has set aside may still be there.
  const once = kind === 'old' ? digits(randomInt(10 ** ONCE_DIGITS), ONCE_DIGITS) : '';
  return `${path}.${writer}${once}.${kind}`;
}

/** Whether `name` is what {@link beside} calls something set aside for `base`, and by whom. */
export function asideBy(base: string, name: string): { pid: number; thread: number } | undefined {
  const end = name.startsWith(`${base}.`) ? name.slice(base.length + 1) : '';
  const [, pid, thread] = ASIDE.exec(end) ?? [];
  return pid === undefined ? undefined : { pid: Number(pid), thread: Number(thread) };
}

/** What a name that {@link beside} gives was made for, or undefined for any other name. */
export function placeOf(name: string): { place: string; kind: 'tmp' | 'old' } | undefined {
  const [, place, kind] = BESIDE.exec(name) ?? [];
  return place === undefined ? undefined : { place, kind: kind === undefined ? 'old' : 'tmp' };
}

const PID_DIGITS = 7;
const THREAD_DIGITS = 6;
const ONCE_DIGITS = 6;
const ASIDE = new RegExp(`^(\\d{${PID_DIGITS}})(\\d{${THREAD_DIGITS}})\\d{${ONCE_DIGITS}}\\.old$`);
const BESIDE = new RegExp(
  `^(.+)\\.\\d{${PID_DIGITS + THREAD_DIGITS}}(?:(\\.tmp)|\\d{${ONCE_DIGITS}}\\.old)$`,
);

function digits(number: number, count: number): string {
  return String(number).padStart(count, '0');
}

/** A message in which the place itself stands for what is written beside it, as the user gave it. */
export function withoutWriters(text: string): string {
  return text.replace(WITHIN, '').replace(WRITTEN, '');
}

const WRITTEN = new RegExp(`\\.\\d{${PID_DIGITS + THREAD_DIGITS}}\\.tmp(?!\\w)`, 'g');
/** What is written inside a folder that cannot be renamed. */
const WITHIN = new RegExp(`[/\\\\]\\.gradcache(\\.turn)?${WRITTEN.source}`, 'g');
