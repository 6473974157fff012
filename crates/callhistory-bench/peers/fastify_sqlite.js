// Fastify with better-sqlite3 over the database file of callhistory, read only, without keys and without a log; two processes.
//
//     npm install fastify better-sqlite3
//     node fastify_sqlite.js callhistory.db 7801

const cluster = require('node:cluster');
if (cluster.isPrimary) { cluster.fork(); cluster.fork(); return; }
const app = require('fastify')();
const db = new (require('better-sqlite3'))(process.argv[2], { readonly: true });
const one = db.prepare('SELECT body FROM call WHERE workspace_id = ? AND id = ?').pluck();
const page = db.prepare('SELECT body FROM call WHERE workspace_id = ? ORDER BY sort_time DESC, id DESC LIMIT 50').pluck();
app.get('/v2/api/call-history/:id', (request, reply) => {
  const body = one.get(request.headers['x-workspace-id'], request.params.id);
  if (!body) return reply.code(404).send({ code: 'call_not_found' });
  reply.type('application/json').send(body);
});
app.get('/v2/api/call-history', (request, reply) => {
  reply.type('application/json').send('[' + page.all(request.headers['x-workspace-id']).join(',') + ']');
});
app.listen({ port: Number(process.argv[3]) });
