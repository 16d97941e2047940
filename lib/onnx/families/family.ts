import type { Builder } from '../builder.js';
import type { Value } from '../graph.js';
import type { Settings } from '../settings.js';

/** What an encoder gives for each token. */
export interface TokenRows {
  /** [batch, sequence, width] */
  readonly rows: Value;
  readonly width: number;
}

/** Builds the layers of a native architecture from its settings, the other half of a file in native/encoders. */
export type Family = (builder: Builder, settings: Settings) => TokenRows;
