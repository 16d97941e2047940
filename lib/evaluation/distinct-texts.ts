/** Different texts in the order in which they came, and the places of each. */
export class DistinctTexts {
  readonly list: string[] = [];
  readonly #of = new Map<string, number>();

  /** The texts of a list, which are added in order. */
  static from(texts: readonly string[]): { distinct: DistinctTexts; of: Int32Array } {
    const distinct = new DistinctTexts();
    return { distinct, of: Int32Array.from(texts, (text) => distinct.of(text)) };
  }

  /** The number of a text, which is added where it is new. */
  of(text: string): number {
    let number = this.#of.get(text);
    if (number === undefined) {
      number = this.list.length;
      this.#of.set(text, number);
      this.list.push(text);
    }
    return number;
  }

  /** The number of a text; undefined where it is not there. */
  find(text: string): number | undefined {
    return this.#of.get(text);
  }
}
