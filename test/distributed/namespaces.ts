/** Two network namespaces of Linux with a cable between them: two machines, for programs that run in them. Needs root. */
import { spawnSync } from 'node:child_process';

export interface Network {
  /** What a command line begins with that runs on one of the machines, 0 or 1. */
  readonly on: (machine: number) => readonly string[];
  /** The address of the first machine. */
  readonly address: string;
  /** Cuts the cable: neither machine is told. */
  readonly cut: () => void;
  /** Limits what either machine sends, in megabits a second. */
  readonly limit: (rate: number) => void;
  readonly dispose: () => void;
}

/** @returns null where this is not allowed */
export function openNetwork(): Network | null {
  const names = [0, 1].map((machine) => `gradcache-${process.pid}-${machine}`);
  const on = (machine: number): readonly string[] => ['ip', 'netns', 'exec', names[machine]!];
  const run = (...command: readonly string[]): boolean =>
    spawnSync(command[0]!, command.slice(1), { stdio: 'ignore' }).status === 0;
  const dispose = (): void => names.forEach((name) => run('ip', 'netns', 'del', name));
  const ends = ['cable0', 'cable1'];
  const made =
    names.every((name) => run('ip', 'netns', 'add', name)) &&
    run(
      'ip',
      'link',
      'add',
      ends[0]!,
      'netns',
      names[0]!,
      'type',
      'veth',
      'peer',
      'name',
      ends[1]!,
      'netns',
      names[1]!,
    ) &&
    [0, 1].every(
      (machine) =>
        run(...on(machine), 'ip', 'address', 'add', `10.77.0.${machine + 1}/24`, 'dev', ends[machine]!) &&
        run(...on(machine), 'ip', 'link', 'set', ends[machine]!, 'up') &&
        run(...on(machine), 'ip', 'link', 'set', 'lo', 'up'),
    );
  if (!made) {
    dispose();
    return null;
  }
  const each = (...command: readonly string[]): void => {
    for (const machine of [0, 1])
      if (!run(...on(machine), ...command.map((word) => (word === 'cable' ? ends[machine]! : word))))
        throw new Error(`${command.join(' ')} failed`);
  };
  return {
    on,
    address: '10.77.0.1',
    // All that is sent is dropped, as on a broken line; a link that is down would be noticed.
    cut: () => {
      each(
        'tc',
        'qdisc',
        'replace',
        'dev',
        'cable',
        'root',
        'tbf',
        'rate',
        '8bit',
        'burst',
        '1',
        'limit',
        '1',
      );
    },
    limit: (rate) => {
      const shape = ['rate', `${rate}mbit`, 'burst', '20kb', 'latency', '400ms'];
      each('tc', 'qdisc', 'replace', 'dev', 'cable', 'root', 'tbf', ...shape);
    },
    dispose,
  };
}
