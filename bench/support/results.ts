import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '../../test/oracle/python.js';

const file = join(projectRoot, 'bench', 'RESULTS.md');
const head = '# Measured\n\nEach section names the command that measured it.\n';

/** What the figures were measured on. */
export function machine(): string {
  const gib = (totalmem() / 2 ** 30).toFixed(0);
  const model = cpus()[0]?.model.trim() ?? arch();
  return `${availableParallelism()} x ${model}, ${gib} GiB, Node ${process.version}`;
}

/** The first GPU's name, for figures that are its own. */
export function gpuName(): string {
  const query = ['--query-gpu=name', '--format=csv,noheader'];
  return spawnSync('nvidia-smi', query, { encoding: 'utf8' }).stdout?.split('\n')[0] || 'no GPU';
}

/** A Markdown table; numbers are aligned right. */
export function table(columns: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const aligned = columns.map((_, k) => (rows.every((row) => typeof row[k] === 'number') ? '---:' : '---'));
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  return [line(columns), line(aligned), ...rows.map(line)].join('\n');
}

/** Puts a section into RESULTS.md, in place of the one of the same title. `place` says when and where, if not now and here. */
export function writeResults(title: string, command: string, body: string, place?: string): void {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : head;
  const sections = text.split(/^(?=## )/m);
  const measured = place ?? `${new Date().toISOString().slice(0, 10)}, ${machine()}`;
  const section = `## ${title}\n\n${measured}.\nCommand: \`${command}\`\n\n${body.trim()}\n`;
  const index = sections.findIndex((known) => known.startsWith(`## ${title}\n`));
  if (index < 0) sections.push(section);
  else sections[index] = section;
  const temporary = `${file}.${process.pid}.tmp`;
  writeFileSync(temporary, sections.map((known) => `${known.trim()}\n`).join('\n'));
  renameSync(temporary, file);
}
