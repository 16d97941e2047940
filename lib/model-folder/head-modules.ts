import { join } from 'node:path';
import { faultIn, refusedIn } from '../files/file-fault.js';
import type { KeptKeys } from '../files/key-table.js';
import { show } from '../options/option-values.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { activationClass, activationIn, type Activation } from './activations.js';
import { readWeights } from './model-weights.js';

/** A linear layer, an activation, and perhaps the input beside them. */
export interface DenseLayer {
  readonly kind: 'Dense';
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly activation: Activation;
  /** Shape `[outFeatures, inFeatures]`. */
  readonly weight: StoredTensor;
  /** Shape `[outFeatures]`, or null for a layer without. */
  readonly bias: StoredTensor | null;
  /** Whether the input is added to the output. */
  readonly residual?: boolean;
  /** What the input goes through for that, where the widths differ: shape `[outFeatures, inFeatures]`. */
  readonly residualWeight?: StoredTensor | null;
}

/** A layer norm with PyTorch's epsilon, 1e-5. */
export interface NormModule {
  readonly kind: 'LayerNorm';
  readonly weight: StoredTensor;
  readonly bias: StoredTensor;
}

/** Dropout in training. */
export interface DropoutModule {
  readonly kind: 'Dropout';
  readonly probability: number;
}

/** Scales representations to length one. */
export interface NormalizeModule {
  readonly kind: 'Normalize';
}

/** What becomes of a pooled representation, or of those of tokens where nothing is pooled: modules, in their order. */
export type HeadModule = DenseLayer | NormModule | DropoutModule | NormalizeModule;

export const NORMALIZE: NormalizeModule = { kind: 'Normalize' };

/** The kinds of {@link HeadModule}, which modules.json knows by the same names. */
export const HEAD_KINDS: readonly HeadModule['kind'][] = ['Dense', 'LayerNorm', 'Dropout', 'Normalize'];

/** The width of the representations that modules give. */
export function widthBehind(modules: readonly HeadModule[], width: number): number {
  return modules.reduce((before, each) => (each.kind === 'Dense' ? each.outFeatures : before), width);
}

/**
 * The name of each module's parameters without what follows the last dot: its kind, and its number among those of the kind.
 * A norm and a dense layer alone have parameters.
 */
export function moduleNames(modules: readonly HeadModule[]): string[] {
  const seen = new Map<string, number>();
  return modules.map(({ kind }) => {
    const number = seen.get(kind) ?? 0;
    seen.set(kind, number + 1);
    return `${kind === 'LayerNorm' ? 'layer_norm' : kind.toLowerCase()}.${number}`;
  });
}

/** Whether a parameter is of a module, and not of the model in front of them. */
export const isOfModule = (parameter: string): boolean => /^(dense|layer_norm)\.\d+\./.test(parameter);

/** The tensors of a module by the names of parameters behind the module's own. */
const tensorsOf = (module: HeadModule): [string, StoredTensor][] => {
  if (module.kind !== 'Dense' && module.kind !== 'LayerNorm') return [];
  const { weight, bias } = module;
  const residual = module.kind === 'Dense' ? (module.residualWeight ?? null) : null;
  return [
    ['weight', weight],
    ...(bias === null ? [] : [['bias', bias] as [string, StoredTensor]]),
    ...(residual === null ? [] : [['residual.weight', residual] as [string, StoredTensor]]),
  ];
};

/** All tensors of the modules, by the names of their parameters. */
export function moduleTensors(modules: readonly HeadModule[]): [string, StoredTensor][] {
  const names = moduleNames(modules);
  return modules.flatMap((module, place) =>
    tensorsOf(module).map(([name, tensor]): [string, StoredTensor] => [`${names[place]}.${name}`, tensor]),
  );
}

/** The modules with other tensors. @param take gives the one of a parameter */
export function withTensors(
  modules: readonly HeadModule[],
  take: (name: string) => StoredTensor,
): HeadModule[] {
  const names = moduleNames(modules);
  return modules.map((module, place) => {
    const taken = Object.fromEntries(
      tensorsOf(module).map(([name]) => [
        name === 'residual.weight' ? 'residualWeight' : name,
        take(`${names[place]}.${name}`),
      ]),
    );
    return { ...module, ...taken };
  });
}

/** A module's folder and what its config.json says. */
interface ModuleFiles {
  readonly kind: string;
  readonly folder: string;
  readonly config: KeptKeys;
}

/** Reads a module of one of the {@link HEAD_KINDS}. @throws GradCacheError `CHECKPOINT` */
export async function readHeadModule(module: ModuleFiles): Promise<HeadModule> {
  const path = join(module.folder, 'config.json');
  if (module.kind === 'Dense') return readDense(path, module);
  if (module.kind === 'LayerNorm') return readNorm(path, module);
  if (module.kind === 'Normalize') return NORMALIZE;
  const { dropout = 0.2 } = module.config;
  if (typeof dropout !== 'number' || !(dropout >= 0 && dropout < 1))
    throw refusedIn(path, 'dropout', dropout, 'a number from 0 and below 1');
  return { kind: 'Dropout', probability: dropout };
}

async function readDense(path: string, { folder, config }: ModuleFiles): Promise<DenseLayer> {
  const {
    in_features: inFeatures,
    out_features: outFeatures,
    activation_function: name = 'torch.nn.modules.activation.Tanh',
    use_residual: residual,
  } = config;
  const activation = activationIn(path, name);
  if (residual !== undefined && typeof residual !== 'boolean')
    throw refusedIn(path, 'use_residual', residual, 'true or false');
  const matrix = `[${show(outFeatures)},${show(inFeatures)}]`;
  const tensors = await readTensors(path, folder, [
    `linear.weight ${matrix}`,
    ...(config.bias === false ? [] : [`linear.bias [${show(outFeatures)}]`]),
    ...(residual === true && inFeatures !== outFeatures ? [`residual.weight ${matrix}`] : []),
  ]);
  const weight = tensors.get('linear.weight')!;
  return {
    kind: 'Dense',
    inFeatures: weight.shape[1]!,
    outFeatures: weight.shape[0]!,
    activation,
    weight,
    bias: tensors.get('linear.bias') ?? null,
    ...(residual !== undefined && { residual }),
    residualWeight: tensors.get('residual.weight') ?? null,
  };
}

async function readNorm(path: string, { folder, config }: ModuleFiles): Promise<NormModule> {
  const vector = `[${show(config.dimension)}]`;
  const tensors = await readTensors(path, folder, [`norm.weight ${vector}`, `norm.bias ${vector}`]);
  return { kind: 'LayerNorm', weight: tensors.get('norm.weight')!, bias: tensors.get('norm.bias')! };
}

/** The weights in a module's folder, which must be these: names and shapes. @throws GradCacheError `CHECKPOINT` */
async function readTensors(path: string, folder: string, expected: readonly string[]) {
  const tensors = await readWeights(folder);
  const found = [...tensors].map(([key, { shape }]) => `${key} [${shape.join(',')}]`);
  if ([...expected].sort().join() === found.sort().join()) return tensors;
  throw faultIn(
    path,
    `it calls for the tensors ${expected.join(', ')}; the weights beside it are ${found.join(', ') || 'none'}`,
  );
}

/** What a module's folder holds: config.json and weights, by the names of sentence-transformers. */
export function headModuleFiles(module: HeadModule): {
  readonly config: Readonly<Record<string, unknown>>;
  readonly weights?: ReadonlyMap<string, StoredTensor>;
} {
  switch (module.kind) {
    case 'Dense':
      return {
        config: {
          in_features: module.inFeatures,
          out_features: module.outFeatures,
          bias: module.bias !== null,
          activation_function: activationClass(module.activation),
          // Releases before 5.7 do not know the key.
          ...(module.residual !== undefined && { use_residual: module.residual }),
        },
        weights: new Map(
          tensorsOf(module).map(([name, tensor]) => [
            name.startsWith('residual') ? name : `linear.${name}`,
            tensor,
          ]),
        ),
      };
    case 'LayerNorm':
      return {
        config: { dimension: module.weight.shape[0] },
        weights: new Map(tensorsOf(module).map(([name, tensor]) => [`norm.${name}`, tensor])),
      };
    case 'Dropout':
      return { config: { dropout: module.probability } };
    case 'Normalize':
      return { config: {} };
  }
}
