import { STATUS_CODES } from 'node:http';
import { packageVersion } from '../addon/runtime/paths.js';
import type { Schema } from './json-schema.js';
import type { ErrorForm, Route } from './route.js';

/** What an answer can be, beside the good one. */
const REFUSED = {
  GET: [500, 503],
  POST: [400, 413, 415, 422, 429, 500, 503],
} as const;

const text: Schema = { type: 'string' };

/** Errors as each of the two APIs writes them. */
const ERRORS: Readonly<Record<ErrorForm, Schema>> = {
  openai: {
    type: 'object',
    required: ['error'],
    properties: {
      error: {
        type: 'object',
        required: ['message', 'type', 'code'],
        properties: { message: text, type: text, param: text, code: text },
      },
    },
  },
  tei: {
    type: 'object',
    required: ['error', 'error_type'],
    properties: { error: text, error_type: text },
  },
};

/** The OpenAPI document of a server. @param keyed whether it asks for an API key */
export function openApi(routes: readonly Route[], keyed: boolean): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes)
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route, keyed);
  return {
    openapi: '3.1.0',
    info: { title: 'gradcache', version: packageVersion(), license: { name: 'Apache-2.0' } },
    paths,
    components: {
      schemas: { OpenAIError: ERRORS.openai, Error: ERRORS.tei },
      ...(keyed && { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } }),
    },
  };
}

function operation(route: Route, keyed: boolean): object {
  const { operation, summary, body, resource, type, answer, errors } = route;
  const isOpen = route.open === true || !keyed;
  const refused: number[] = [
    ...REFUSED[route.method],
    ...(isOpen ? [] : [401]),
    ...(resource === undefined ? [] : [404]),
  ];
  const error = { $ref: `#/components/schemas/${errors === 'openai' ? 'OpenAIError' : 'Error'}` };
  const refusals: Record<string, object> = {};
  for (const status of refused)
    refusals[status] = {
      description: STATUS_CODES[status],
      content: { 'application/json': { schema: error } },
    };
  return {
    operationId: operation,
    summary,
    ...(isOpen ? {} : { security: [{ key: [] }] }),
    ...(body && { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    responses: { 200: { description: 'OK', content: { [type]: { schema: answer ?? text } } }, ...refusals },
  };
}
