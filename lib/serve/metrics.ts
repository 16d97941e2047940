/* Counts in the text format that Prometheus reads (version 0.0.4). */

/** Values of labels, in the order of their names. */
type Labels = readonly string[];

/** A metric with a value for each combination of its labels. */
interface Metric {
  write(): string[];
}

/** A number that grows. */
export class Counter implements Metric {
  readonly #values = new Map<string, number>();

  constructor(
    readonly name: string,
    readonly help: string,
    readonly labels: readonly string[] = [],
  ) {
    if (labels.length === 0) this.add(0);
  }

  add(amount: number, labels: Labels = []): void {
    const key = labelled(this.labels, labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + amount);
  }

  write(): string[] {
    const lines = Array.from(this.#values, ([labels, value]) => `${this.name}${labels} ${value}`);
    return [...head(this, 'counter'), ...lines];
  }
}

/** A number as it is when it is asked for. */
export class Gauge implements Metric {
  constructor(
    readonly name: string,
    readonly help: string,
    readonly read: () => number,
  ) {}

  write(): string[] {
    return [...head(this, 'gauge'), `${this.name} ${this.read()}`];
  }
}

interface Distribution {
  readonly counts: number[];
  sum: number;
  count: number;
}

/** How often numbers up to each bound came. */
export class Histogram implements Metric {
  readonly #values = new Map<string, Distribution>();

  constructor(
    readonly name: string,
    readonly help: string,
    readonly bounds: readonly number[],
    readonly labels: readonly string[] = [],
  ) {}

  add(value: number, labels: Labels = []): void {
    const key = labelled(this.labels, labels);
    let found = this.#values.get(key);
    if (found === undefined)
      this.#values.set(key, (found = { counts: this.bounds.map(() => 0), sum: 0, count: 0 }));
    for (const [place, bound] of this.bounds.entries()) if (value <= bound) found.counts[place]!++;
    found.sum += value;
    found.count++;
  }

  write(): string[] {
    const lines = Array.from(this.#values, ([labels, { counts, sum, count }]) => {
      const bucket = (bound: string) => `${this.name}_bucket${withLabel(labels, 'le', bound)}`;
      return [
        ...this.bounds.map((bound, place) => `${bucket(String(bound))} ${counts[place]}`),
        `${bucket('+Inf')} ${count}`,
        `${this.name}_sum${labels} ${sum}`,
        `${this.name}_count${labels} ${count}`,
      ];
    });
    return [...head(this, 'histogram'), ...lines.flat()];
  }
}

/** What a scrape gets. */
export function writeMetrics(metrics: readonly Metric[]): string {
  return `${metrics.flatMap((metric) => metric.write()).join('\n')}\n`;
}

function head({ name, help }: { name: string; help: string }, type: string): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

function labelled(names: readonly string[], values: Labels): string {
  if (names.length === 0) return '';
  return `{${names.map((name, place) => `${name}="${escaped(values[place] ?? '')}"`).join(',')}}`;
}

function withLabel(labels: string, name: string, value: string): string {
  return labels === '' ? `{${name}="${value}"}` : `${labels.slice(0, -1)},${name}="${value}"}`;
}

const escaped = (value: string): string =>
  value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
