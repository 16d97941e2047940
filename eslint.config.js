import eslint from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

const namedExports = { selector: 'ExportDefaultDeclaration', message: 'Exports have names here.' };
/** What Node, native code or a caller in a vm context (Jest, Vitest) makes is no instance of this realm's classes. */
const noForeignClass = {
  selector:
    "BinaryExpression[operator='instanceof'][right.name=/^(\\w*Error|DOMException|\\w*Array|\\w*ArrayBuffer|DataView|Buffer|" +
    '\\w*Map|\\w*Set|Promise|RegExp|Date|Function|Object|AbortSignal|\\w*Stream)$/]' +
    ':not([right.name=/^(GradCacheError|UsageError|SettingError)$/])',
  message: 'A value of another realm is no instance of it: see lib/options/realms.ts and node:util/types.',
};

export default defineConfig(
  globalIgnores(['dist/', 'build*/', 'prebuilds/', 'docs/', '.libtorch/', '.tools/', '.cache/', '.gpu/']),
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      // node:test's test() and describe() return promises that its runner awaits.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', name: ['test', 'describe', 'it', 'suite'], package: 'node:test' },
          ],
        },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // An async method may have nothing to await: its interface says that it returns a promise.
      '@typescript-eslint/require-await': 'off',
      'no-restricted-syntax': ['error', namedExports],
    },
  },
  {
    files: ['lib/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', namedExports, noForeignClass] },
  },
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: {
      globals: {
        console: 'readonly',
        process: 'readonly',
        URL: 'readonly',
        setTimeout: 'readonly',
        performance: 'readonly',
        Buffer: 'readonly',
      },
    },
  },
  {
    // TypeScript, which knows what a browser has, looks for names that are not there: `npm run lint`.
    files: ['lib/report/browser/*.js'],
    rules: { 'no-undef': 'off' },
  },
);
