/*
 * Checks the arguments of an encoder's methods, which users also call from their own loops.
 */
import { types } from 'node:util';
import { requireBoolean, requireCount, refused } from '../options/option-values.js';
import { checkKnown } from '../options/known-options.js';
import { requireSeed } from '../options/seeds.js';
import { Tensor } from '../tensor/tensor.js';
import type { ReplayTicket } from './encoder.js';

/** @throws GradCacheError `INPUT` unless it has rows and a count of tokens */
export function requireChunk(chunk: unknown): void {
  const { rows, tokens } = (chunk ?? {}) as { rows?: unknown; tokens?: unknown };
  if (!types.isInt32Array(rows))
    throw refused("a chunk's rows", rows, 'an Int32Array, as planChunks() gives it,');
  requireCount("a chunk's tokens", tokens, 0);
}

/** @throws GradCacheError `INPUT` */
export function requireForwardOptions(options: unknown): void {
  checkKnown('forwardChunk', options, ['seed', 'retain', 'evaluation', 'group']);
  const { seed, retain = false, evaluation = false, group = 0 } = options as Record<string, unknown>;
  requireSeed(seed);
  requireBoolean('retain', retain);
  requireBoolean('evaluation', evaluation);
  requireCount('group', group, 0);
}

/** @throws GradCacheError `INPUT` unless the ticket is one of forwardChunk's and the gradients are a tensor */
export function requireBackward(ticket: unknown, gradients: unknown, group: unknown): void {
  requireTicket('the ticket', ticket);
  if (!(gradients instanceof Tensor)) throw refused('gradients', gradients, 'a Tensor');
  requireCount('group', group, 0);
}

/** @throws GradCacheError `INPUT` unless it is a ticket of forwardChunk */
export function requireTicket(name: string, ticket: unknown): asserts ticket is ReplayTicket {
  const { seed, graph } = (ticket ?? {}) as { seed?: unknown; graph?: unknown };
  if (graph !== null && !(graph instanceof Tensor))
    throw refused(name, ticket, 'what forwardChunk() gave with the representations');
  requireSeed(seed);
}
