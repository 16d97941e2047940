/** The batches whose gradients make one update. */
export interface BatchesOfUpdate<Batch> {
  readonly batches: readonly [Batch, ...Batch[]];
  /** Whether the last of them is the last of its epoch, or an epoch ends between them; false where nobody asked. */
  readonly endsEpoch: boolean;
}

/**
 * Puts batches together that make one update. Batches at the end that are too few for one are left out.
 *
 * @param how.accumulate batches of an update
 * @param how.epochOf the epoch of a batch, where it matters which update ends one: the next batch is then read ahead. Null:
 * it does not
 */
export async function* updatesOf<Batch>(
  source: AsyncIterable<Batch>,
  {
    accumulate,
    epochOf,
  }: { readonly accumulate: number; readonly epochOf: ((batch: Batch) => number) | null },
): AsyncGenerator<BatchesOfUpdate<Batch>, void, undefined> {
  /** A whole update that waits for the batch behind it. */
  let held: readonly Batch[] | null = null;
  let group: Batch[] = [];
  const update = (batches: readonly Batch[], next: Batch | null): BatchesOfUpdate<Batch> => ({
    batches: batches as readonly [Batch, ...Batch[]],
    endsEpoch: epochOf !== null && (next === null || epochOf(next) !== epochOf(batches[0]!)),
  });
  for await (const batch of source) {
    if (held !== null) yield update(held, batch);
    held = null;
    group.push(batch);
    if (group.length < accumulate) continue;
    if (epochOf === null) yield update(group, null);
    else held = group;
    group = [];
  }
  if (held !== null) yield update(held, null);
}
