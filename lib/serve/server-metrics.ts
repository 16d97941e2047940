import type { Batcher } from './batcher.js';
import { Counter, Gauge, Histogram, writeMetrics } from './metrics.js';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const TOKENS = [16, 64, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768];

/** What a server counts. No text of a request is in it. */
export class ServerMetrics {
  readonly requests = new Counter(
    'gradcache_requests_total',
    'Requests that were answered, by path and HTTP status.',
    ['path', 'status'],
  );
  readonly seconds = new Histogram(
    'gradcache_request_seconds',
    'Seconds from a request to its answer, by path.',
    SECONDS,
    ['path'],
  );
  readonly texts = new Counter('gradcache_texts_total', 'Texts or pairs of texts that were encoded.');
  readonly tokens = new Counter('gradcache_tokens_total', 'Tokens that were encoded, special ones included.');
  readonly truncated = new Counter(
    'gradcache_truncated_texts_total',
    'Texts that were cut to the length limit of the model.',
  );
  readonly dropped = new Counter(
    'gradcache_dropped_texts_total',
    'Texts that were not encoded because their client had gone or their request had failed.',
  );
  readonly failures = new Counter(
    'gradcache_failures_total',
    'Requests that failed in the server, by code.',
    ['code'],
  );
  readonly batchTokens = new Histogram('gradcache_batch_tokens', 'Tokens of a batch of the model.', TOKENS);
  readonly batchSeconds = new Histogram(
    'gradcache_batch_seconds',
    'Seconds that a batch of the model took.',
    SECONDS,
  );

  /** What a scrape gets. */
  write(batcher: Batcher, openRequests: number): string {
    return writeMetrics([
      this.requests,
      this.seconds,
      this.texts,
      this.tokens,
      this.truncated,
      this.dropped,
      this.failures,
      this.batchTokens,
      this.batchSeconds,
      new Gauge('gradcache_open_requests', 'Requests that have no answer yet.', () => openRequests),
      new Gauge('gradcache_queue_texts', 'Texts that have come and are not encoded.', () => batcher.texts),
      new Gauge('gradcache_queue_tokens', 'Tokens that wait for a batch.', () => batcher.waitingTokens),
      new Gauge('process_resident_memory_bytes', 'Memory of the process.', () => process.memoryUsage.rss()),
      new Counted(
        'process_cpu_seconds_total',
        'Processor time of the process.',
        process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6,
      ),
    ]);
  }
}

/** A count that is kept elsewhere. */
class Counted extends Counter {
  constructor(name: string, help: string, value: number) {
    super(name, help);
    this.add(value);
  }
}
