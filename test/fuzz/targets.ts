import type { Target } from './target.js';

/** Everything that is fuzzed, by name; each is loaded where it is used. */
export const targets: Readonly<Record<string, () => Promise<Target>>> = {
  operators: async () => (await import('./targets/operators.js')).operatorCalls,
  'every-operator': async () => (await import('./targets/every-operator.js')).everyOperator,
  tensors: async () => (await import('./targets/tensors.js')).tensors,
  addon: async () => (await import('./targets/addon.js')).addon,
  exports: async () => (await import('./targets/exports.js')).exported,
  tokenizers: async () => (await import('./targets/tokenizers.js')).tokenizers,
  kernels: async () => (await import('./targets/kernels.js')).kernels,
  safetensors: async () => (await import('./targets/safetensors.js')).safetensors,
  'torch-files': async () => (await import('./targets/torch-files.js')).torchFiles,
  tables: async () => (await import('./targets/tables.js')).tables,
  parquet: async () => (await import('./targets/parquet.js')).parquet,
  beir: async () => (await import('./targets/beir.js')).beir,
  'model-folders': async () => (await import('./targets/model-folders.js')).modelFolders,
  encoders: async () => (await import('./targets/encoders.js')).encoders,
  'language-models': async () => (await import('./targets/language-models.js')).languageModels,
  training: async () => (await import('./targets/training.js')).training,
  'training-settings': async () => (await import('./targets/training-settings.js')).trainingSettings,
  checkpoints: async () => (await import('./targets/checkpoints.js')).checkpoints,
  'command-lines': async () => (await import('./targets/command-lines.js')).commandLines,
};
