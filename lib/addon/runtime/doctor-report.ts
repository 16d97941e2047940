import type { DoctorReport } from './doctor.js';
import { describePlaces } from './libtorch.js';
import type { DeviceTrouble } from './load-report.js';

/** A report as text for a terminal: what was found, then what is wrong and how to mend it. */
export function formatDoctor(report: DoctorReport): string {
  const { gradcache, node, system, libtorch, load } = report;
  const libc = system.glibc === null ? 'musl' : `glibc ${system.glibc}`;
  const lines = [
    `gradcache  ${gradcache.version} in ${gradcache.folder}`,
    `node       ${node.version} at ${node.executable}`,
    `system     ${system.system}-${system.architecture}, ${libc}, ${system.processors} processors, ${gibibytes(system.memory)}`,
    ...describeGpus(report),
    `libtorch   ${libtorch === null ? 'none' : `${libtorch.version} in ${libtorch.folder} (${libtorch.source}, ${libtorch.cuda ? 'CUDA' : 'CPU'} build)`}`,
    ...indent(describePlaces(report.places)),
    `package    brings addons for ${report.platforms.length === 0 ? 'no platform' : report.platforms.join(', ')}`,
    `addons     ${report.builds.length === 0 ? `none for ${system.system}-${system.architecture}` : ''}`.trimEnd(),
    ...report.builds.map(
      (build) =>
        `  ${build.matches ? '*' : ' '} libtorch ${build.minor}  ${build.kind.padEnd(8)}  ${build.addon}`,
    ),
    `kernels    ${describeKernels(report)}`,
    ...describeLoad(load),
    'tools      for set-up and source builds',
    ...report.tools.map((tool) => `  ${tool.name.padEnd(9)}${tool.version ?? `not found (${tool.install})`}`),
    '',
  ];
  if (report.ok) return [...lines, 'Everything that is needed is here.'].join('\n');
  const problems = report.problems.flatMap((problem) => [`${problem.code}:`, ...indent(problem.message), '']);
  return [...lines, ...problems].join('\n').trimEnd();
}

function describeGpus({ driver, gpus }: DoctorReport): string[] {
  if (gpus.length === 0 && driver !== null) return [`gpu        none, driver ${driver}`];
  return gpus.map((gpu) => {
    const memory =
      gpu.memory === null ? '' : `, ${gibibytes(gpu.memory.free)} free of ${gibibytes(gpu.memory.total)}`;
    const capability = gpu.capability === null ? '' : `, compute capability ${gpu.capability}`;
    return `gpu        ${gpu.name}${capability}, driver ${gpu.driver}${memory}`;
  });
}

function describeKernels({ kernels, load }: DoctorReport): string {
  if (kernels === null) return 'none for CUDA';
  if (load === null || !load.ok) return kernels;
  return load.kernels.error === null ? `${kernels} opens` : `${kernels} does not open: ${load.kernels.error}`;
}

function describeLoad(load: DoctorReport['load']): string[] {
  if (load === null) return ['load       not tried'];
  if (!load.ok) return [`load       failed: ${load.code}`];
  return [
    `load       ${Math.round(load.milliseconds)} ms in a process of its own`,
    ...load.libraries.map((path) => `  ${path}`),
    `devices    ${load.devices.map((device) => describeDevice(device, load.unusable)).join(', ')}`,
  ];
}

function describeDevice(device: string, unusable: readonly DeviceTrouble[]): string {
  const trouble = unusable.find((one) => one.device === device);
  return trouble === undefined ? device : `${device} (unusable: ${trouble.code})`;
}

function indent(text: string): string[] {
  return text.split('\n').map((line) => `  ${line}`);
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
