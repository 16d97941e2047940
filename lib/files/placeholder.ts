/**
 * What lies in place of a file that was not fetched: the pointer that Git keeps for a large file, or a page of a web site.
 *
 * @param content the file's beginning: a few hundred bytes do
 * @param holds what the file should hold: lines of text may well begin as a web page does
 * @returns what it is and what to do, for a message, or undefined where it is neither
 */
export function placeholderIn(
  content: Uint8Array | string,
  holds: 'data' | 'lines' = 'data',
): string | undefined {
  const text =
    typeof content === 'string' ? content : Buffer.from(content.subarray(0, 512)).toString('latin1');
  if (text.startsWith('version https://git-lfs.github.com/spec/'))
    return 'it is the pointer of Git LFS, not the file itself: fetch it with `git lfs pull`, or download it again';
  if (
    holds === 'data' &&
    /^(\uFEFF|\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml|Error)\b/i.test(text.slice(0, 512))
  )
    return 'it is a web page, not the file itself: download it again, and look whether the address needs a login';
  return undefined;
}
