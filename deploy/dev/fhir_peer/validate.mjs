// Validate FHIR R4 JSON files with two validators that notice different things. Prints one line an error; exit status 1 if any.
//
//   node validate.mjs FILE...
//
// @medplum/core: structure, cardinality, types and FHIRPath invariants from HL7's own StructureDefinitions.
// fhir: required code values and unknown elements.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { validateResource } from '@medplum/core';
import { loadDefinitions } from './definitions.mjs';

const { Fhir } = createRequire(import.meta.url)('fhir');
loadDefinitions();
const second = new Fhir();
let errors = 0;

function tell(file, type, where, what) {
  errors += 1;
  console.log(`${file}: ${type} ${where ?? ''}: ${what}`);
}

for (const file of process.argv.slice(2)) {
  const top = JSON.parse(readFileSync(file, 'utf8'));
  const resources = [top, ...(top.entry ?? []).map((entry) => entry.resource).filter(Boolean)];
  for (const resource of resources) {
    try {
      validateResource(resource);
    } catch (error) {
      for (const issue of error.outcome?.issue ?? [{ details: { text: error.message } }]) {
        if (issue.severity !== 'warning') tell(file, resource.resourceType, issue.expression?.join(), issue.details?.text);
      }
    }
    if (resource === top && top.resourceType === 'Bundle') continue; // its entries are validated one by one
    for (const message of second.validate(resource, { errorOnUnexpected: true }).messages ?? []) {
      if (['error', 'fatal'].includes(message.severity)) tell(file, resource.resourceType, message.location, message.message);
    }
  }
}
process.exit(errors ? 1 : 0);
