import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { threadId } from 'node:worker_threads';
import { isAlive } from '../processes/process-alive.js';

/** Which thread of which process holds an output folder, or the turn to replace what is in one. */
export interface Holder {
  readonly id: string;
  readonly host: string;
  /** Processes of one system see each other by their numbers; those of another do not. */
  readonly system: string;
  readonly pid: number;
  /** When the process started, in the system's own count: numbers of processes come again. */
  readonly started: string | null;
  readonly thread: number;
  readonly since: string;
}

/** This thread of this process. */
export function holder(id: string): Holder {
  return {
    id,
    host: hostname(),
    system: thisSystem(),
    pid: process.pid,
    started: startOf(process.pid),
    thread: threadId,
    since: new Date().toISOString(),
  };
}

/** The running kernel and the part of its processes that this one sees: containers have parts of their own. */
export function thisSystem(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}

/** When a process started, or null where that cannot be seen. */
export function startOf(pid: number): string | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name of the program, in parentheses, can hold anything; what comes after the last one are numbers.
    return fields.slice(fields.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

/** Reads a holder. Null for half of one, which is being written or whose writer was killed, and for any other text. */
export function readHolder(text: string): Holder | null {
  try {
    const found = JSON.parse(text) as Partial<Holder> | null;
    const { id, host, system, pid, thread, since } = found ?? {};
    const texts = [id, host, system, since].every((value) => typeof value === 'string');
    return texts && Number.isInteger(pid) && Number.isInteger(thread) ? (found as Holder) : null;
  } catch {
    return null;
  }
}

/** Whether the process still runs. Another process that has got its number does not count. */
export function runs({ pid, started }: Holder): boolean {
  if (!isAlive(pid)) return false;
  const now = startOf(pid);
  return now === null || started === null || now === started;
}

/**
 * Whether the writer that a text names has ended; undefined where that cannot be seen. A thread that writes there itself must
 * not ask.
 */
export function isGone(text: string): boolean | undefined {
  const found = readHolder(text);
  if (found === null || found.system !== thisSystem()) return undefined;
  if (found.pid === process.pid && found.thread !== threadId) return runs(found) ? undefined : true;
  return found.pid === process.pid || !runs(found);
}
