import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../../test/oracle/python.js';

const PACKAGE = 'emoji-datasource-twitter';
const VERSION = '16.0.0';

/** A picture and what it is called. */
export interface Named {
  /** The path of a PNG of 64 by 64 points. */
  readonly image: string;
  readonly caption: string;
}

/** What emoji.json of the package says of a picture that is used here. */
interface Emoji {
  readonly name: string | null;
  readonly short_name: string;
  readonly category: string;
  readonly image: string;
  readonly skin_variations?: Readonly<Record<string, { readonly image: string }>>;
}

const TONES: Readonly<Record<string, string>> = {
  '1F3FB': 'light',
  '1F3FC': 'medium-light',
  '1F3FD': 'medium',
  '1F3FE': 'medium-dark',
  '1F3FF': 'dark',
};

/** The folder of the package, which npm fetches into .cache once. */
function fetched(): string {
  const place = join(projectRoot, '.cache', 'pictures');
  const folder = join(place, 'package');
  if (existsSync(join(folder, 'emoji.json'))) return folder;
  // Unpacked beside its place: after an interruption there are not some of the pictures.
  const begun = `${place}.part`;
  for (const each of [place, begun]) rmSync(each, { recursive: true, force: true });
  mkdirSync(begun, { recursive: true });
  execFileSync('npm', ['pack', `${PACKAGE}@${VERSION}`, '--pack-destination', begun], { stdio: 'ignore' });
  execFileSync('tar', ['-xzf', join(begun, `${PACKAGE}-${VERSION}.tgz`), '-C', begun]);
  renameSync(begun, place);
  return folder;
}

/**
 * The pictures of npm's emoji-datasource-twitter with their names, which tones of skin and other variations share with nobody
 * else: 3,786 of them.
 *
 * @param folder of the package; default: npm fetches it
 */
export function emoji(folder = fetched()): Named[] {
  const images = join(folder, 'img', 'twitter', '64');
  const all = JSON.parse(readFileSync(join(folder, 'emoji.json'), 'utf8')) as Emoji[];
  return all
    .flatMap(({ name, short_name: short, category, image, skin_variations: variations = {} }) => {
      const caption = `${(name ?? short).toLowerCase()}, ${short.replaceAll(/[_-]/g, ' ')}, ${category}`;
      const toned = Object.entries(variations).map(([codes, each]) => ({
        image: join(images, each.image),
        caption: `${caption}, ${codes
          .split('-')
          .map((code) => TONES[code] ?? code)
          .join(' and ')} skin tone`,
      }));
      return [{ image: join(images, image), caption }, ...toned];
    })
    .filter(({ image }) => existsSync(image));
}
