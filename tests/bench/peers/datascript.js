// DataScript in one process: commands as lines of JSON on stdin, answers as lines of JSON on stdout.
const d = require('datascript');
const lines = require('readline').createInterface({ input: process.stdin });
let db = d.empty_db();

lines.on('line', line => {
  const { facts, many, query, inputs } = JSON.parse(line);
  if (facts) {
    db = d.empty_db(Object.fromEntries(many.map(name => [name, { ':db/cardinality': ':db.cardinality/many' }])));
    db = d.db_with(db, facts.map(([e, a, v]) => [':db/add', e, a, v]));
    console.log(JSON.stringify({ size: facts.length }));
    return;
  }
  const started = performance.now();
  const rows = d.q(query, db, ...inputs);
  console.log(JSON.stringify({ seconds: (performance.now() - started) / 1000, rows: rows.length }));
});
