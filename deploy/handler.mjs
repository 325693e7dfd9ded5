// A handler to practise on, in Node.js alone: verifies every request as Zoom's documentation says, answers the URL
// validation, and prints what arrived.
//
//   ZOOM_WEBHOOK_SECRET_TOKEN=demo-secret-token PORT=3000 node deploy/handler.mjs

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const { ZOOM_WEBHOOK_SECRET_TOKEN: secret, PORT: port = "3000" } = process.env;
if (!secret) throw new Error("ZOOM_WEBHOOK_SECRET_TOKEN is not set");

/** Requests that are older, or of the future, may be somebody's who recorded them. */
const FRESH_SECONDS = 300;
/** The largest body that the bridge sends, and a little. */
const BODY_BYTES = 5 << 20;

const hmac = (text) => createHmac("sha256", secret).update(text).digest("hex");

function genuine(headers, body) {
  const { "x-zm-request-timestamp": timestamp = "", "x-zm-signature": shown = "" } = headers;
  const expected = Buffer.from(`v0=${hmac(Buffer.concat([Buffer.from(`v0:${timestamp}:`), body]))}`);
  const given = Buffer.from(shown);
  const fresh = Math.abs(Date.now() / 1000 - Number(timestamp)) <= FRESH_SECONDS;
  return fresh && given.length === expected.length && timingSafeEqual(given, expected);
}

async function read(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > BODY_BYTES) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

const server = createServer(async (request, response) => {
  const answer = (status, document) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(document === undefined ? "" : JSON.stringify(document));
  };
  try {
    const body = await read(request);
    if (body === null) return answer(413);
    if (!genuine(request.headers, body)) return answer(401);
    const { event, payload } = JSON.parse(body);
    if (event === "endpoint.url_validation") {
      return answer(200, { plainToken: payload.plainToken, encryptedToken: hmac(payload.plainToken) });
    }
    console.log(`${event} (${body.length} bytes), request ${request.headers["x-zm-request-id"]}`);
    answer(200);
  } catch {
    answer(400);
  }
});
// As long as clients keep idle connections, and longer.
server.keepAliveTimeout = 60_000;
server.listen(Number(port), "127.0.0.1", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
