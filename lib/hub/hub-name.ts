import { refuse } from '../options/fields.js';

/** What the Hugging Face hub has: models and data sets. */
export type RepositoryKind = 'model' | 'dataset';

/** A repository of the hub at a revision. */
export interface HubRepository {
  readonly kind: RepositoryKind;
  /** `owner/name`; names without an owner are those of the hub's first models. */
  readonly name: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
}

/** A data set of the hub, or a part of one. */
export interface HubData extends HubRepository {
  /** A configuration, folder, file or pattern of files; empty: the default. */
  readonly part: string;
  /** For instance `train`; undefined: the default. */
  readonly split: string | undefined;
}

/** The revision of a name that states none. */
const DEFAULT_REVISION = 'main';

const PREFIX = 'hf:';
/** The hub's rule: at most 96 letters, digits, `.`, `_` and `-`, of which no `-` or `.` at an end, and none twice. */
const WORD = String.raw`(?!-|\.)(?!\w*(?:--|\.\.))[\w.-]{1,96}(?<![-.])`;
const REPOSITORY = new RegExp(`^${WORD}(?:/${WORD})?$`);
/** `refs/pr/1` and `refs/convert/parquet` are the revisions with slashes that the hub makes; %2F stands for others. */
const REVISION = String.raw`refs/(?:pr|convert)/[\w.-]+|[\w.%+-]+`;
const MODEL = new RegExp(`^([^@:]+?)(?:@(${REVISION}))?$`);
const DATA = new RegExp(
  String.raw`^([^@:/]+(?:/[^@:/]+)?)(?:@(${REVISION}))?(?:/([^:]*[^:/]))?/?(?::([\w.-]+))?$`,
);

/** Whether a text begins as the names of the hub do here: `hf:owner/name`. */
export function isHubName(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** Whether a text can be what a repository is called on the hub: `owner/name`. */
export function isRepositoryName(text: string): boolean {
  const [name = '', ...rest] = text.split('@');
  return rest.length <= 1 && name.includes('/') && REPOSITORY.test(name);
}

/**
 * Reads the name of a model: `hf:owner/name`, `hf:owner/name@revision`, or the same without `hf:`.
 *
 * @param setting what the name was given as, for messages
 * @throws GradCacheError `INPUT`
 */
export function modelName(setting: string, text: string): HubRepository {
  const [, name = '', revision = DEFAULT_REVISION] = MODEL.exec(withoutPrefix(text)) ?? [];
  if (!REPOSITORY.test(name) || !isRevision(decoded(revision)))
    throw refuse(setting, text, 'hf:OWNER/NAME or hf:OWNER/NAME@REVISION');
  return { kind: 'model', name, revision: decoded(revision) };
}

/**
 * Reads the name of a data set: `hf:owner/name@revision/part:split`, of which revision, part and split may be left out.
 *
 * @param setting what the name was given as, for messages
 * @throws GradCacheError `INPUT`
 */
export function dataName(setting: string, text: string): HubData {
  const [, name = '', revision = DEFAULT_REVISION, part = '', split] = DATA.exec(withoutPrefix(text)) ?? [];
  if (!REPOSITORY.test(name) || !isRevision(decoded(revision)) || part.split('/').includes('..'))
    throw refuse(
      setting,
      text,
      'hf:OWNER/NAME, with @REVISION, /PART (a configuration, folder or file) and :SPLIT behind it if wanted,',
    );
  return { kind: 'dataset', name, revision: decoded(revision), part, split };
}

/** How a repository is written in a setting or a message. */
export function writtenName({ name, revision }: HubRepository): string {
  const written = /^refs\/(pr|convert)\//.test(revision) ? revision : encodeURIComponent(revision);
  return `${PREFIX}${name}${revision === DEFAULT_REVISION ? '' : `@${written}`}`;
}

/** Whether a revision is a whole commit, whose files never change. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** A revision is also the path of a file in the cache. */
function isRevision(revision: string): boolean {
  const parts = revision.split('/');
  return /^[\w.+/-]{1,200}$/.test(revision) && parts.every((part) => part !== '' && !/^\.+$/.test(part));
}

function decoded(revision: string): string {
  return revision.replaceAll(/%2F/gi, '/');
}

function withoutPrefix(text: string): string {
  return isHubName(text) ? text.slice(PREFIX.length) : text;
}
