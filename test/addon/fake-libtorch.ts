import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A folder that is removed when the test ends. */
export function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-test-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface FakeLibtorch {
  readonly version?: string;
  /** How the folder states its version: version.py as wheels do, build-version as archives do, or not at all. */
  readonly style?: 'wheel' | 'archive' | 'none';
  readonly cuda?: boolean;
}

/** A folder that looks like a libtorch as far as can be seen without loading it. */
export function fakeLibtorch(folder: string, options: FakeLibtorch = {}): string {
  const { version = '2.13.0+cpu', style = 'wheel', cuda = false } = options;
  mkdirSync(join(folder, 'lib'), { recursive: true });
  const names = [
    'libc10.so',
    'libtorch_cpu.so',
    'libtorch.so',
    ...(cuda ? ['libc10_cuda.so', 'libtorch_cuda.so'] : []),
  ];
  for (const name of names) writeFileSync(join(folder, 'lib', name), elfHeader());
  if (style === 'wheel')
    writeFileSync(join(folder, 'version.py'), `from typing import Optional\n__version__ = '${version}'\n`);
  if (style === 'archive') writeFileSync(join(folder, 'build-version'), `${version}\n`);
  return folder;
}

/** A shell script that stands in for a program such as python3. */
export function fakeProgram(path: string, script: string): string {
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

const MACHINE = process.arch === 'arm64' ? 0xb7 : 0x3e;

/** The 64 bytes with which a shared library of this machine begins, and nothing after them. */
export function elfHeader(machine = MACHINE): Buffer {
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(3, 16); // a shared object
  header.writeUInt16LE(machine, 18);
  header.writeUInt32LE(1, 20);
  header.writeUInt16LE(64, 52);
  return header;
}

/** A whole shared library, with nothing in it but its need of another one. */
export function libraryNeeding(soname: string): Buffer {
  const strings = Buffer.from(`\0${soname}\0`, 'latin1');
  const header = elfHeader();
  header.writeBigUInt64LE(64n, 32); // program headers follow
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(2, 56);
  const dynamicAt = 64 + 2 * 56;
  const entries: [tag: bigint, value: bigint][] = [];
  const symbolsAt = dynamicAt + 6 * 16;
  const stringsAt = symbolsAt + 24;
  entries.push([1n, 1n]); // DT_NEEDED
  entries.push([5n, BigInt(stringsAt)]); // DT_STRTAB
  entries.push([6n, BigInt(symbolsAt)]); // DT_SYMTAB
  entries.push([10n, BigInt(strings.length)]); // DT_STRSZ
  entries.push([11n, 24n]); // DT_SYMENT
  entries.push([0n, 0n]);
  const dynamic = Buffer.alloc(entries.length * 16);
  entries.forEach(([tag, value], index) => {
    dynamic.writeBigUInt64LE(tag, index * 16);
    dynamic.writeBigUInt64LE(value, index * 16 + 8);
  });
  const size = stringsAt + strings.length;
  const load = programHeader(1, 0, size);
  const dynamicHeader = programHeader(2, dynamicAt, dynamic.length);
  return Buffer.concat([header, load, dynamicHeader, dynamic, Buffer.alloc(24), strings]);
}

function programHeader(type: number, offset: number, size: number): Buffer {
  const header = Buffer.alloc(56);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(6, 4); // readable and writable
  for (const at of [8, 16, 24]) header.writeBigUInt64LE(BigInt(offset), at);
  for (const at of [32, 40]) header.writeBigUInt64LE(BigInt(size), at);
  header.writeBigUInt64LE(type === 1 ? 4096n : 8n, 48);
  return header;
}
