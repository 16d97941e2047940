import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { locateLibtorch } from '../../lib/addon/runtime/libtorch.js';
import { packageRoot } from '../../lib/addon/runtime/paths.js';

interface Scripts {
  readonly prebuildProblems: (minors: readonly string[], folder: string) => string[];
  readonly addonSources: () => string;
  readonly bootSources: () => string;
  readonly cudaSources: () => string;
  readonly binaryProblems: (path: string) => string[];
  readonly neededNames: () => string[];
  readonly requireNccl: (libtorch: { folder: string; version: string }) => void;
}

async function scripts(): Promise<Scripts> {
  const names = [
    'prebuild-check',
    'build-addon',
    'prebuild',
    'prebuild-cuda',
    'prebuild-binary',
    'prebuild-nccl',
  ];
  const load = (name: string) =>
    import(pathToFileURL(join(packageRoot(), 'scripts', `${name}.mjs`)).href) as Promise<Partial<Scripts>>;
  const modules = await Promise.all(names.map(load));
  return modules.reduce((all, exported) => ({ ...all, ...exported })) as Scripts;
}

/** Prebuilt binaries as far as the check looks at them; each is this machine's boot addon. */
function prebuilds(context: TestContext, { addonSources, bootSources, cudaSources }: Scripts): string {
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-prebuilds-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const tuple = join('prebuilds', 'linux-x64');
  const parts = [
    ['torch-2.13', join(tuple, 'gradcache.glibc.node'), addonSources()],
    ['boot', join(tuple, 'boot.glibc.node'), bootSources()],
    ['cuda', join('linux-x64', 'libgradcache_cuda.so'), cudaSources()],
  ] as const;
  for (const [part, binary, sources] of parts) {
    mkdirSync(dirname(join(folder, part, binary)), { recursive: true });
    cpSync(join(packageRoot(), 'prebuilds', 'boot', tuple, 'boot.glibc.node'), join(folder, part, binary));
    writeFileSync(join(folder, part, 'sources'), sources);
  }
  return folder;
}

test('prebuilt binaries that are all there and made from these sources may be published', async (context) => {
  const it = await scripts();
  assert.deepEqual(it.prebuildProblems(['2.13'], prebuilds(context, it)), []);
});

test('a missing minor, a stale kernels library and a damaged stamp are each named', async (context) => {
  const it = await scripts();
  const folder = prebuilds(context, it);
  writeFileSync(join(folder, 'cuda', 'sources'), 'of another day');
  rmSync(join(folder, 'boot', 'sources'));
  const problems = it.prebuildProblems(['2.13', '2.14'], folder);
  assert.equal(problems.length, 3);
  assert.match(problems[0] ?? '', /^the addon for libtorch 2\.14 is missing/);
  assert.match(problems[1] ?? '', /^the boot addon is stale/);
  assert.match(problems[2] ?? '', /^the library of CUDA kernels is stale/);
});

test('without anything prebuilt, everything is named', async () => {
  const it = await scripts();
  assert.equal(it.prebuildProblems(['2.11', '2.12'], join(tmpdir(), 'nothing-here')).length, 4);
});

test("this machine's addon opens wherever libtorch does: old symbols, no CUDA, no search path", async () => {
  const { binaryProblems } = await scripts();
  const { minor } = locateLibtorch();
  const tuple = join('prebuilds', 'linux-x64');
  const addons = [
    join(`torch-${minor}`, tuple, 'gradcache.glibc.node'),
    join('boot', tuple, 'boot.glibc.node'),
  ];
  for (const addon of addons) assert.deepEqual(binaryProblems(join(packageRoot(), 'prebuilds', addon)), []);
});

test("a libtorch that does not export NCCL's constructors stops the making of its addon", async (context) => {
  const { neededNames, requireNccl } = await scripts();
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-nccl-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'lib'));
  const library = (names: readonly string[]): void => {
    const source = names
      .map((name, k) => `void f${k}(void) __asm__("${name}"); void f${k}(void) {}`)
      .join('\n');
    const options = ['-shared', '-x', 'c', '-', '-o', join(folder, 'lib', 'libtorch_cuda.so')];
    assert.equal(spawnSync('cc', options, { input: source }).status, 0);
  };
  const [options, group] = neededNames();
  library([options!, group!, '_ZN4c10d16ProcessGroupNCCL4Other']);
  requireNccl({ folder, version: '2.99.0' });
  library([options!]);
  assert.throws(
    () => {
      requireNccl({ folder, version: '2.99.0' });
    },
    new RegExp(`^Error: libtorch 2\\.99\\.0 does not export ${group}: `),
  );
});
