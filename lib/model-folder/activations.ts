import { faultIn } from '../files/file-fault.js';
import { show } from '../options/option-values.js';

/** Classes of torch.nn that take no parameters, by the names that native/model/head_modules.cc knows them by. */
const CLASSES = {
  identity: 'linear.Identity',
  tanh: 'activation.Tanh',
  relu: 'activation.ReLU',
  gelu: 'activation.GELU',
  silu: 'activation.SiLU',
  sigmoid: 'activation.Sigmoid',
  mish: 'activation.Mish',
  elu: 'activation.ELU',
  celu: 'activation.CELU',
  selu: 'activation.SELU',
  leaky_relu: 'activation.LeakyReLU',
  relu6: 'activation.ReLU6',
  hardtanh: 'activation.Hardtanh',
  hardswish: 'activation.Hardswish',
  hardsigmoid: 'activation.Hardsigmoid',
  hardshrink: 'activation.Hardshrink',
  softshrink: 'activation.Softshrink',
  tanhshrink: 'activation.Tanhshrink',
  softplus: 'activation.Softplus',
  softsign: 'activation.Softsign',
  logsigmoid: 'activation.LogSigmoid',
} as const;

/** What a dense layer applies after its linear part: a function of PyTorch with its usual arguments. */
export type Activation = keyof typeof CLASSES;

/** Every activation. */
export const ACTIVATIONS = Object.keys(CLASSES) as readonly Activation[];

/** The Python class of an activation, as sentence-transformers saves it. */
export function activationClass(activation: Activation): string {
  return `torch.nn.modules.${CLASSES[activation]}`;
}

/**
 * The activation of a Python class, whose path may be that of the module or of torch.nn.
 *
 * @throws GradCacheError `CHECKPOINT` naming the file, for another class
 */
export function activationIn(path: string, name: unknown): Activation {
  const found = ACTIVATIONS.find(
    (each) => name === activationClass(each) || name === `torch.nn.${classNameOf(each)}`,
  );
  if (found !== undefined) return found;
  throw faultIn(
    path,
    `its activation is ${typeof name === 'string' ? name : show(name)}; supported are, of torch.nn, ` +
      ACTIVATIONS.map(classNameOf).join(', '),
  );
}

const classNameOf = (activation: Activation): string => CLASSES[activation].replace(/^.*\./, '');
