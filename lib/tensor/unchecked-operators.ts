import { GradCacheError } from '../errors.js';

/**
 * Public operators of libtorch that trust their caller: with arguments that fit their schemas they end the process, read
 * beyond their tensors or never end, from Python as well. test/fuzz found them.
 */
const TRUSTING: ReadonlySet<string> = new Set([
  'aten::quantized_lstm_cell',
  'aten::mkldnn_rnn_layer',
  'aten::mkldnn_rnn_layer.out',
  'aten::choose_qparams_optimized',
]);

/**
 * Refuses calls that end the process inside libtorch.
 *
 * @param args values by position, tensors as their handles
 * @throws GradCacheError `OPERATOR`
 */
export function refuseUnchecked(
  name: string,
  args: readonly unknown[],
  keywords: Readonly<Record<string, unknown>>,
): void {
  if (TRUSTING.has(name)) {
    throw new GradCacheError(
      'OPERATOR',
      `${name} does not look at its arguments, and wrong ones end the process: it cannot be called from here`,
    );
  }
  if (name.startsWith('aten::range')) requireWholeStep(name, args[2] ?? keywords.step, keywords);
}

/** libtorch divides by the step as the integer type has it: 0 for one between -1 and 1. */
function requireWholeStep(
  name: string,
  step: unknown,
  { dtype, out }: Readonly<Record<string, unknown>>,
): void {
  if (typeof step !== 'number' || step === 0 || Math.abs(step) >= 1) return;
  const type = (out as { dtype?: unknown } | null | undefined)?.dtype ?? dtype;
  if (typeof type !== 'string' || !/^(u?int\d+|bool)$/.test(type)) return;
  throw new GradCacheError('OPERATOR', `${name}: a step of ${step} is 0 as ${type}; use a floating type`);
}
