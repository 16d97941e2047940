import { readdir } from 'node:fs/promises';

/**
 * Whether a folder holds a model, by the names in it: the modules of sentence-transformers, an adapter, or a configuration beside weights
 * of any kind that are called a model, such as pytorch_model.bin. Vectors can be in a safetensors file too. A folder that is
 * not there or cannot be read holds none.
 */
export async function isModelFolder(path: string): Promise<boolean> {
  const names = await readdir(path).catch((): string[] => []);
  return (
    names.includes('modules.json') ||
    names.includes('adapter_config.json') ||
    (names.includes('config.json') && names.some((name) => isWeights(name) && /(^|_)model[-.]/.test(name)))
  );
}

/** Whether a file of this name holds weights, in a kind of file that is read here or in another. */
export function isWeights(name: string): boolean {
  return /\.(bin|h5|msgpack|onnx|ot|pt|pth|safetensors)$/.test(name);
}
