// A reporter of node:test that names the tests that failed once more, at the end: there are thousands before it.
/** @param {AsyncIterable<{ type: string, data: any }>} source */
export default async function* failures(source) {
  const failed = [];
  for await (const { type, data } of source) {
    // A file whose process ended early fails as a test of its own.
    if (type === 'test:fail' && data.todo === undefined && data.skip === undefined) failed.push(data);
  }
  for (const { name, file, line, details } of failed) {
    const error = details?.error?.cause ?? details?.error;
    yield `# failed: ${name} (${file ?? 'no file'}:${line ?? 0})\n`;
    for (const row of String(error?.message ?? error)
      .split('\n')
      .slice(0, 12))
      yield `#   ${row}\n`;
  }
}
