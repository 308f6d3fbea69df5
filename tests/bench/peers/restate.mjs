// Restate: three services that a fourth calls one after the other, and three steps inside one handler.

// Node 20 has no Promise.withResolvers.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
};

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

// Else the SDK tells of every call, on standard output, where the results go.
process.env.RESTATE_LOGGING = "ERROR";
const restate = await import("@restatedev/restate-sdk");

const free = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

const stage = (name) => restate.service({ name, handlers: { run: async (_ctx, n) => n + 1 } });
const stages = ["First", "Second", "Third"].map(stage);
const chain = restate.service({
  name: "Chain",
  handlers: {
    calls: async (ctx, n) => {
      for (const service of stages) n = await ctx.serviceClient(service).run(n);
      return n;
    },
    steps: async (ctx, n) => {
      for (const name of ["first", "second", "third"]) n = await ctx.run(name, () => n + 1);
      return n;
    },
  },
});

const [own, ingress, admin, node] = await Promise.all([free(), free(), free(), free()]);
const endpoint = restate.endpoint();
[...stages, chain].forEach((service) => endpoint.bind(service));
await endpoint.listen(own);

const directory = mkdtempSync(join(tmpdir(), "restate-"));
const server = spawn("node_modules/.bin/restate-server", ["--no-logo"], {
  stdio: ["ignore", "ignore", "inherit"],
  env: {
    ...process.env,
    RESTATE_BASE_DIR: directory,
    RESTATE_LOG_FILTER: "error",
    RESTATE_BIND_ADDRESS: `127.0.0.1:${node}`,
    RESTATE_ADVERTISED_ADDRESS: `http://127.0.0.1:${node}/`,
    RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
    RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
  },
});

const post = async (url, body) => {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
};
const eventually = async (action) => {
  for (let tries = 0; ; tries++) {
    try {
      return await action();
    } catch (error) {
      if (tries > 300) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
};

const measure = async (system, handler, times = 100, clients = 64, seconds = 8) => {
  const once = async () => {
    if ((await post(`http://127.0.0.1:${ingress}/Chain/${handler}`, 0)) !== 3) throw new Error("wrong result");
  };
  await eventually(once);
  for (let n = 0; n < 20; n++) await once();
  const took = [];
  for (let n = 0; n < times; n++) {
    const began = performance.now();
    await once();
    took.push(performance.now() - began);
  }
  took.sort((a, b) => a - b);
  const begin = performance.now() + (seconds * 1000) / 4;
  const end = performance.now() + seconds * 1000;
  let done = 0;
  const client = async () => {
    while (performance.now() < end) {
      await once();
      const now = performance.now();
      if (now >= begin && now < end) done++;
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  const round = (value) => Math.round(value * 100) / 100;
  console.log(
    JSON.stringify({
      system,
      p50_ms: round(took[Math.floor(took.length / 2)]),
      p99_ms: round(took[Math.floor((took.length * 99) / 100)]),
      clients,
      stages_per_s: round((done * 3 * 1000) / (end - begin)),
    }),
  );
};

try {
  await eventually(() => post(`http://127.0.0.1:${admin}/deployments`, { uri: `http://127.0.0.1:${own}` }));
  await measure("Restate, three services by call", "calls");
  await measure("Restate, three steps in one handler", "steps");
} finally {
  server.kill("SIGTERM");
  await new Promise((resolve) => server.once("exit", resolve));
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
