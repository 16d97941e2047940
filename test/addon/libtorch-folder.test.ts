import assert from 'node:assert/strict';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspectLibtorch } from '../../lib/addon/runtime/libtorch-folder.js';
import { elfHeader, fakeLibtorch, temporaryFolder } from './fake-libtorch.js';

test('reads the version of a wheel and of an archive, without loading anything', (context) => {
  const folder = temporaryFolder(context);
  const wheel = fakeLibtorch(join(folder, 'wheel'), { version: '2.13.0+cpu' });
  const archive = fakeLibtorch(join(folder, 'archive'), {
    version: '2.11.0+cu130',
    style: 'archive',
    cuda: true,
  });
  assert.deepEqual(inspectLibtorch(wheel).libtorch, {
    folder: wheel,
    version: '2.13.0+cpu',
    minor: '2.13',
    cuda: false,
  });
  assert.deepEqual(inspectLibtorch(archive).libtorch, {
    folder: archive,
    version: '2.11.0+cu130',
    minor: '2.11',
    cuda: true,
  });
});

test('finds the libtorch from the folder above it and from its lib folder', (context) => {
  const folder = temporaryFolder(context);
  const wheel = fakeLibtorch(join(folder, 'a', 'torch'));
  const archive = fakeLibtorch(join(folder, 'b', 'libtorch'), { style: 'archive' });
  assert.equal(inspectLibtorch(join(folder, 'a')).libtorch?.folder, wheel);
  assert.equal(inspectLibtorch(join(folder, 'b')).libtorch?.folder, archive);
  assert.equal(inspectLibtorch(join(wheel, 'lib')).libtorch?.folder, wheel);
});

test('supports exactly the minors 2.11 to 2.14', (context) => {
  const folder = temporaryFolder(context);
  for (const version of ['2.11.0', '2.12.1+cu130', '2.13.0+cpu', '2.14.1', '2.14.0a0+git1234567']) {
    assert.notEqual(inspectLibtorch(fakeLibtorch(folder, { version })).libtorch, null, version);
  }
  for (const version of ['2.10.0', '2.15.0', '1.13.1', '2.1.0', '3.11.0', '2.110.0']) {
    const inspection = inspectLibtorch(fakeLibtorch(folder, { version }));
    assert.ok(inspection.libtorch === null);
    assert.equal(inspection.version, version);
    assert.match(inspection.reason, /supported are 2\.11, 2\.12, 2\.13, 2\.14/);
  }
});

function reasonOf(path: string): string {
  const inspection = inspectLibtorch(path);
  assert.ok(inspection.libtorch === null, `${path} was taken for a libtorch`);
  return inspection.reason;
}

test('says why a path is not a libtorch', (context) => {
  const folder = temporaryFolder(context);
  assert.match(reasonOf(join(folder, 'nowhere')), /does not exist/);
  assert.match(reasonOf(folder), /holds no lib\/libtorch_cpu\.so/);
  writeFileSync(join(folder, 'file'), '');
  assert.match(reasonOf(join(folder, 'file')), /is not a folder/);
  assert.match(reasonOf('a\0b'), /null bytes|does not exist/);
  symlinkSync('loop', join(folder, 'loop'));
  assert.match(reasonOf(join(folder, 'loop')), /does not exist|ELOOP/);
});

test('says which library is missing, damaged or made for another machine', (context) => {
  const folder = fakeLibtorch(temporaryFolder(context));
  const library = join(folder, 'lib', 'libc10.so');
  rmSync(library);
  assert.match(reasonOf(folder), /lib\/libc10\.so is missing/);
  writeFileSync(library, 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n');
  assert.match(reasonOf(folder), /lib\/libc10\.so is not a shared library/);
  writeFileSync(library, '');
  assert.match(reasonOf(folder), /lib\/libc10\.so is not a shared library/);
  writeFileSync(library, elfHeader(0x28));
  assert.match(reasonOf(folder), /lib\/libc10\.so is not built for/);
});

test('a version file that states no version is no version', (context) => {
  const folder = fakeLibtorch(temporaryFolder(context), { style: 'none' });
  assert.match(reasonOf(folder), /neither version\.py nor build-version/);
  writeFileSync(join(folder, 'version.py'), `__version__ = __import__('os').system('true')\n`);
  assert.match(reasonOf(folder), /neither version\.py nor build-version/);
  writeFileSync(join(folder, 'version.py'), Buffer.alloc(5_000_000, 'a'));
  assert.match(reasonOf(folder), /neither version\.py nor build-version/);
  rmSync(join(folder, 'version.py'));
  mkdirSync(join(folder, 'version.py'));
  assert.match(reasonOf(folder), /neither version\.py nor build-version/);
  mkdirSync(join(folder, 'build-version'));
  assert.match(reasonOf(folder), /neither version\.py nor build-version/);
});
