import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { hubCache, hubSettings } from '../../lib/hub/hub-settings.js';
import { temporaryFolder } from '../training/support.js';

test('the variables mean what they mean in Python', async (t) => {
  const home = await temporaryFolder(t);
  const HOME = home;
  const cases: [environment: Record<string, string>, cache: string][] = [
    [{}, join(home, '.cache/huggingface/hub')],
    [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub'],
    [{ XDG_CACHE_HOME: '/x', HF_HOME: '~/hf' }, join(home, 'hf/hub')],
    [{ HF_HOME: '/h', HUGGINGFACE_HUB_CACHE: '/old' }, '/old'],
    [
      {
        HF_HOME: '/h',
        HUGGINGFACE_HUB_CACHE: '/old',
        HF_HUB_CACHE: '$WORK/${NAME}/$none',
        WORK: '/w',
        NAME: 'n',
      },
      '/w/n/$none',
    ],
  ];
  for (const [environment, cache] of cases) {
    assert.equal(hubCache({ HOME, ...environment }), cache);
    assert.equal(hubSettings({ HOME, ...environment }).cache, cache);
  }
  const { endpoint, token, tokenFile, offline, patience } = hubSettings({ HOME });
  assert.deepEqual(
    { endpoint, token, tokenFile, offline, patience },
    {
      endpoint: 'https://huggingface.co',
      token: null,
      tokenFile: join(home, '.cache/huggingface/token'),
      offline: false,
      patience: 30_000,
    },
  );
  for (const value of ['1', 'ON', 'yes', 'True'])
    assert.equal(hubSettings({ HOME, HF_HUB_OFFLINE: value }).offline, true);
  assert.equal(hubSettings({ HOME, TRANSFORMERS_OFFLINE: '1' }).offline, true);
  assert.equal(hubSettings({ HOME, HF_HUB_OFFLINE: '0', TRANSFORMERS_OFFLINE: '1' }).offline, false);
  assert.equal(hubSettings({ HOME, HF_ENDPOINT: 'https://mirror/hub//' }).endpoint, 'https://mirror/hub');
});

test('a token is that of the variable, else that of the file, unless it is switched off', async (t) => {
  const HOME = await temporaryFolder(t);
  const path = join(HOME, 'token');
  await writeFile(path, ' hf_file\n');
  const tokenOf = (environment: Record<string, string>) =>
    hubSettings({ HOME, HF_HOME: HOME, ...environment }).token;
  assert.deepEqual(tokenOf({}), { value: 'hf_file', source: path });
  assert.deepEqual(tokenOf({ HF_TOKEN: 'hf_new' }), { value: 'hf_new', source: 'HF_TOKEN' });
  assert.deepEqual(tokenOf({ HUGGING_FACE_HUB_TOKEN: 'hf_old' }), {
    value: 'hf_old',
    source: 'HUGGING_FACE_HUB_TOKEN',
  });
  assert.equal(tokenOf({ HF_TOKEN: 'hf_new', HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }), null);
  assert.equal(tokenOf({ HF_TOKEN_PATH: join(HOME, 'none') }), null);
  // Where the cache is can be asked whatever the token is.
  assert.equal(hubCache({ HOME, HF_HOME: HOME, HF_TOKEN: 'a\nb', HF_ENDPOINT: '?' }), join(HOME, 'hub'));
});
