import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceTrouble, type Machine } from '../../lib/addon/runtime/device-problems.js';
import type { DeviceTrouble } from '../../lib/addon/runtime/load-report.js';

const gpu = { name: 'NVIDIA H200', driver: '580.95.05', capability: '9.0', memory: null };
const kernels = '/package/prebuilds/cuda/linux-x64/libgradcache_cuda.so';

function trouble(device: string): DeviceTrouble {
  return { device, code: 'CUDA_UNAVAILABLE', message: `Device '${device}' cannot be used` };
}

interface Found {
  devices?: readonly string[];
  unusable?: readonly DeviceTrouble[];
  error?: string | null;
  cuda?: boolean;
  gpus?: number;
}

function machine({ devices = ['cpu'], unusable = [], error = null, cuda = true, gpus = 1 }: Found): Machine {
  return {
    load: {
      ok: true,
      milliseconds: 1,
      addon: '/package/gradcache.node',
      libraries: [],
      kernels: { path: kernels, error },
      devices,
      unusable,
    },
    libtorch: { folder: '/torch', version: cuda ? '2.13.0+cu130' : '2.13.0+cpu', minor: '2.13', cuda },
    gpus: Array.from({ length: gpus }, () => gpu),
    driver: gpus > 0 ? gpu.driver : null,
  };
}

const both = ['cpu', 'cuda:0', 'cuda:1'];

test('a GPU that can be used is no trouble, whatever name it is asked for by', () => {
  for (const device of [undefined, 'auto', 'cpu', 'cuda', 'cuda:0', 'cuda:1']) {
    assert.equal(deviceTrouble(device, machine({ devices: both })), null);
  }
});

test('a GPU that is busy or too old is a trouble for those who would get it', () => {
  const found = machine({ devices: both, unusable: [trouble('cuda:0')] });
  for (const device of [undefined, 'auto', 'cuda', 'cuda:0']) {
    assert.deepEqual(deviceTrouble(device, found), trouble('cuda:0'));
  }
  for (const device of ['cpu', 'cuda:1']) assert.equal(deviceTrouble(device, found), null);
});

test('a GPU that is there and that libtorch does not see is told also to those who name no device', () => {
  const found = machine({ unusable: [trouble('cuda')] });
  for (const device of [undefined, 'auto', 'cuda', 'cuda:1']) {
    assert.deepEqual(deviceTrouble(device, found), trouble('cuda'));
  }
  assert.equal(deviceTrouble('cpu', found), null);
});

test('a CUDA build on a machine without GPU is no trouble until a GPU is asked for', () => {
  const found = machine({ unusable: [trouble('cuda')], gpus: 0 });
  for (const device of [undefined, 'auto', 'cpu']) assert.equal(deviceTrouble(device, found), null);
  assert.deepEqual(deviceTrouble('cuda', found), trouble('cuda'));
});

test('kernels that do not open are a trouble beside a CUDA build only', () => {
  const error = `${kernels} has version 1 of the kernels' interface`;
  const expected = { device: 'cuda', code: 'LIBTORCH_LOAD', message: error };
  assert.deepEqual(deviceTrouble('cuda', machine({ devices: both, error })), expected);
  assert.equal(deviceTrouble(undefined, machine({ error, cuda: false })), null);
});

test('a build without CUDA is named with its folder and the command that installs another', () => {
  const found = deviceTrouble('cuda', machine({ cuda: false }));
  assert.equal(found?.code, 'CUDA_UNAVAILABLE');
  assert.match(
    found.message,
    /libtorch 2\.13\.0\+cpu in \/torch is a build without CUDA.*npx gradcache setup/,
  );
});

test('a device that does not exist is named beside those that do', () => {
  assert.match(deviceTrouble('cuda:7', machine({ devices: both }))?.message ?? '', /cpu, cuda:0, cuda:1/);
});
