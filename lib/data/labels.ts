import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { LABEL_TYPES, type LabelType } from '../options/label-type.js';
import { refused, requireFunction, requireOneOf, requireString, show } from '../options/option-values.js';
import type { LabelledRow, LabelledRowSource, Row } from './row.js';

/** A column of labels, beside those of texts. */
export interface LabelOptions<Column extends string = string> {
  /** The name of the column. */
  readonly column: Column;
  /** What a label is. Default: 'number'. */
  readonly type?: LabelType;
  /** What is needed in place of a label that is no good though of its type; undefined: it is good. Not asked for classes. */
  readonly needs?: (label: Label, row: Row) => string | undefined;
  /** What messages call what the column has, such as `'weight'`. Default: 'label'. */
  readonly called?: string;
}

/** The label of a row: a number, or lists of numbers. A class is its number. */
export type Label = number | readonly Label[];

/** @throws GradCacheError `INPUT` */
export function checkLabelOptions(name: string, label: unknown, columns: readonly string[] = []): void {
  checkKnown(name, label, ['column', 'type', 'needs', 'called']);
  const { column, type = 'number', needs, called } = label as LabelOptions;
  if (typeof column !== 'string' || column === '' || column === '__proto__')
    throw refused(`${name}.column`, column, 'the name of a column');
  requireOneOf(`${name}.type`, type, LABEL_TYPES);
  if (needs !== undefined) requireFunction(`${name}.needs`, needs);
  if (called !== undefined) requireString(`${name}.called`, called);
  if (columns.includes(column)) throw refused(`${name}.column`, column, 'a column that is none of the texts');
}

/** The value of a label in a file as text. Undefined for what is no label of this type. */
export function labelText(value: unknown, type: LabelType): string | undefined {
  const text =
    typeof value === 'string'
      ? value.trim()
      : typeof value === 'object'
        ? JSON.stringify(value)
        : ['number', 'bigint', 'boolean'].includes(typeof value)
          ? String(Number(value))
          : '';
  if (text === '') return undefined;
  return type === 'class' ? (typeof value === 'object' ? undefined : text) : numbersIn(text, type) && text;
}

/** What is wrong with a label, for messages. */
export function labelProblem(
  { column, type = 'number', called = 'label' }: LabelOptions,
  value: unknown,
): string {
  const needed = {
    number: 'a number',
    class: 'a class: a whole number or a name',
    numbers: 'a number or a JSON list of numbers',
  }[type];
  const found = value === undefined ? `it has no ${called}` : `the ${called}`;
  return `${found} ${show(column)}${value === undefined ? '' : ` is ${show(value)}`}, not ${needed}`;
}

/** What is wrong with a label of a row whose text is that of its type; undefined: nothing. */
export function misfit(
  { column, type = 'number', needs, called = 'label' }: LabelOptions,
  text: string,
  row: Row,
): string | undefined {
  if (needs === undefined || type === 'class') return undefined;
  const needed = needs(numbersIn(text, type)!.value, row);
  return needed === undefined ? undefined : `the ${called} ${show(column)} is ${text}, not ${needed}`;
}

/** The numbers in the text of a label that is no class. */
function numbersIn(text: string, type: LabelType): { readonly value: Label } | undefined {
  if (!text.startsWith('[')) {
    const value = Number(text);
    return text.trim() !== '' && Number.isFinite(value) ? { value } : undefined;
  }
  if (type === 'number') return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isLabel(value) ? { value } : undefined;
  } catch {
    return undefined;
  }
}

function isLabel(value: unknown): value is Label {
  return Array.isArray(value) ? value.length > 0 && value.every(isLabel) : Number.isFinite(value);
}

/**
 * The labels of rows. Classes are numbered: whole numbers from 0 stand for themselves, if the first class is one. Otherwise
 * classes have the numbers 0, 1, … in the order in which they first come.
 */
export class Labels {
  readonly #options: LabelOptions;
  readonly #column: string;
  readonly #type: LabelType;
  readonly #of = new WeakMap<Row, Label>();
  readonly #classes = new Map<string, number>();
  /** Whether classes are names; known once there is one. */
  #named: boolean | undefined;

  constructor(options: LabelOptions) {
    const { column, type = 'number' } = options;
    this.#options = options;
    this.#column = column;
    this.#type = type;
  }

  /** The label of a row that {@link Labels.apart} gave. */
  of(row: Row): Label {
    return this.#of.get(row)!;
  }

  /** The label of `row` is that of `before`, whose place it takes. */
  keep(row: Row, before: Row): void {
    this.#of.set(row, this.of(before));
  }

  /**
   * The rows without their label.
   *
   * @throws GradCacheError `INPUT`, while they are read, for a row without one
   */
  async *apart(rows: LabelledRowSource): AsyncGenerator<Row, void, undefined> {
    let number = 0;
    for await (const row of rows) {
      yield this.#read(row, number++);
    }
  }

  #read(row: LabelledRow, number: number): Row {
    // What is no row is refused by those who read the texts.
    if (typeof row !== 'object' || row === null || Array.isArray(row)) return row as Row;
    const { [this.#column]: value, ...texts } = row;
    const text = labelText(value, this.#type);
    if (text === undefined)
      throw new GradCacheError('INPUT', `Row ${number}: ${labelProblem(this.#options, value)}.`);
    const wrong = misfit(this.#options, text, texts as Row);
    if (wrong !== undefined) throw new GradCacheError('INPUT', `Row ${number}: ${wrong}.`);
    this.#of.set(
      texts as Row,
      this.#type === 'class' ? this.#classOf(text, number) : numbersIn(text, this.#type)!.value,
    );
    return texts as Row;
  }

  #classOf(text: string, row: number): number {
    const whole = /^\d+(\.0+)?$/.test(text) && Number.isSafeInteger(Number(text));
    this.#named ??= !whole;
    if (!this.#named) {
      if (whole) return Number(text);
      throw new GradCacheError(
        'INPUT',
        `Row ${row}: the class ${show(this.#column)} is ${show(text)}, and the first one is a whole number: give ` +
          'names to all classes, or whole numbers from 0.',
      );
    }
    const known = this.#classes.get(text) ?? this.#classes.size;
    this.#classes.set(text, known);
    return known;
  }
}
