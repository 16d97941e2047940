import { GradCacheError } from '../errors.js';
import type { LossWithGradients } from '../losses/loss.js';
import { requireOneOf } from '../options/option-values.js';

/** How ranks see each other's representations. */
export type Exchange = 'gather' | 'ring';

/** @throws GradCacheError `INPUT` for another one, or for a loss that cannot be computed so */
export function requireExchange(
  name: string,
  exchange: unknown,
  loss: LossWithGradients,
): asserts exchange is Exchange {
  requireOneOf(name, exchange, ['gather', 'ring']);
  const { sharing, takesRing } = loss;
  if (exchange === 'gather' || sharing === 'rows' || sharing === 'own' || takesRing === true) return;
  throw new GradCacheError(
    'INPUT',
    `${name} is 'ring'; 'gather' is needed: a rank computes this loss from the representations of all rows. A ring takes ` +
      'infoNCE, multipleNegativesRanking, ntXent, sigLIP, supCon, multiSimilarity and megaBatchMargin, alone or in matryoshka or ' +
      'adaptiveLayer, and losses that are means over rows. Logits of a cross-encoder, a few numbers for each pair, are gathered ' +
      'whatever the loss of pairs or lists: a ring would save no memory',
  );
}
