// An in-memory FHIR R4 server on loopback, for development and tests. It forgets everything when it stops.
//
//   node server.mjs [PORT]        default 8090; 0 picks a free port. Prints one line, {"listening": PORT}, when ready.
//
// Transactions are all or nothing: the repository behind it has no rollback, so the state is copied before and put back when
// an entry fails. Every answer carries an ETag; If-Match is honoured for single updates and for entries of a transaction.
import { createServer } from 'node:http';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import { validateResource } from '@medplum/core';
import { loadDefinitions } from './definitions.mjs';

loadDefinitions();
const repository = new MemoryRepository();
const router = new FhirRouter();
const STATUS = { ok: 200, created: 201, 'not-modified': 304, 'not-found': 404, gone: 410, conflict: 409, 'precondition-failed': 412 };
const CAPABILITIES = {
  resourceType: 'CapabilityStatement', status: 'active', date: '2024-01-01', kind: 'instance', fhirVersion: '4.0.1', format: ['json'],
  rest: [{ mode: 'server', interaction: [{ code: 'transaction' }, { code: 'search-system' }] }],
};

let turn = Promise.resolve();
function inTurn(work) {
  const mine = turn.then(work);
  turn = mine.catch(() => undefined);
  return mine;
}

function snapshot() {
  const copy = (outer, inner) => new Map([...outer].map(([type, byId]) => [type, new Map([...byId].map(([id, value]) => [id, inner(value)]))]));
  return [copy(repository.resources, (resource) => resource), copy(repository.history, (versions) => [...versions])];
}

function restore([resources, history]) {
  for (const [target, source] of [[repository.resources, resources], [repository.history, history]]) {
    target.clear();
    for (const [type, byId] of source) target.set(type, byId);
  }
}

function outcome(code, text) {
  return { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code, details: { text } }] };
}

async function transaction(bundle) {
  for (const { resource } of bundle.entry ?? []) {
    try {
      if (resource) validateResource(resource);
    } catch (error) {
      return [422, error.outcome ?? outcome('invalid', error.message)];
    }
  }
  const before = snapshot();
  const [result, answer] = await router.handleRequest({ method: 'POST', url: '/', headers: {}, body: bundle }, repository);
  const failed = answer?.entry?.find((entry) => Number.parseInt(entry.response.status, 10) >= 400);
  if (!answer || failed) {
    restore(before);
    return [failed ? Number.parseInt(failed.response.status, 10) : (STATUS[result.id] ?? 400), failed?.response.outcome ?? result];
  }
  for (const entry of answer.entry ?? []) {
    if (entry.resource?.meta?.versionId) entry.response.etag = `W/"${entry.resource.meta.versionId}"`;
  }
  return [200, answer];
}

async function answerTo(request, body) {
  if (request.method === 'GET' && request.url === '/metadata') return [200, CAPABILITIES];
  if (request.method === 'POST' && request.url === '/') return body?.resourceType === 'Bundle' ? transaction(body) : [400, outcome('invalid', 'not a Bundle')];
  const [result, resource] = await router.handleRequest({ method: request.method, url: request.url, query: {}, headers: request.headers, body }, repository);
  return [STATUS[result.id] ?? 400, resource ?? result];
}

const server = createServer((request, response) => {
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', async () => {
    let status = 400;
    let answer;
    try {
      const body = pieces.length ? JSON.parse(Buffer.concat(pieces).toString('utf8')) : undefined;
      [status, answer] = await inTurn(() => answerTo(request, body));
    } catch (error) {
      answer = outcome('invalid', error.message);
    }
    const headers = { 'content-type': 'application/fhir+json; charset=utf-8' };
    if (answer?.meta?.versionId) headers.etag = `W/"${answer.meta.versionId}"`;
    response.writeHead(status, headers);
    response.end(JSON.stringify(answer));
  });
});

server.listen(Number.parseInt(process.argv[2] ?? '8090', 10), '127.0.0.1', () => {
  console.log(JSON.stringify({ listening: server.address().port }));
});
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
