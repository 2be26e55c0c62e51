// Stands for Apple: Node's own HTTP/2 and TLS, which checks what Apple's documents ask for.
// node apns.mjs CERTIFICATE KEY PUBLIC_KEY TEAM KEY_ID TOPIC; says its port, then one line of JSON
// per request. A device token that begins with dead is gone, one with busy is asked to wait.
import { createSecureServer } from "node:http2";
import { readFileSync } from "node:fs";
import { createPublicKey, verify } from "node:crypto";

const [certificate, key, publicKey, team, keyId, topic] = process.argv.slice(2);
const signer = createPublicKey(readFileSync(publicKey));
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

function judge(headers, body) {
  const wrong = [];
  const must = (what, holds) => holds || wrong.push(what);
  const [scheme, token] = (headers.authorization ?? "").split(" ");
  const [head, claims, signature] = (token ?? "").split(".");
  const json = (part) => JSON.parse(Buffer.from(part ?? "", "base64url").toString() || "{}");
  must("bearer", scheme === "bearer");
  must("alg and kid", json(head).alg === "ES256" && json(head).kid === keyId);
  must("iss", json(claims).iss === team);
  must("iat", Math.abs(json(claims).iat - Date.now() / 1000) < 3600);
  must("signature", verify("sha256", Buffer.from(`${head}.${claims}`),
    { key: signer, dsaEncoding: "ieee-p1363" }, Buffer.from(signature ?? "", "base64url")));
  must("method", headers[":method"] === "POST");
  must("path", /^\/3\/device\/[0-9a-f]+$/.test(headers[":path"]));
  must("topic", headers["apns-topic"] === topic);
  must("push type", headers["apns-push-type"] === "alert");
  must("id", /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(headers["apns-id"]));
  must("expiration", Number(headers["apns-expiration"]) > Date.now() / 1000);
  const collapse = headers["apns-collapse-id"] ?? "";
  must("collapse id", collapse.length > 0 && Buffer.byteLength(collapse) <= 64);
  must("size", body.length <= 4096);
  const { aps, heddle } = JSON.parse(body.toString());
  must("aps", typeof aps === "object" && Number.isInteger(aps.badge));
  must("action", ["message", "clear"].includes(heddle?.action));
  const silent = aps.alert === undefined;
  must("priority", headers["apns-priority"] === (silent ? "5" : "10"));
  if (silent) {
    must("nothing shown", aps.sound === undefined && aps["mutable-content"] === undefined);
    must("wakes the app", aps["content-available"] === 1);
    must("clear", heddle?.action === "clear");
  } else {
    must("shown", typeof aps.alert.body === "string" || typeof aps.alert["loc-key"] === "string");
    must("message", heddle?.action === "message");
  }
  return wrong;
}

const busy = new Set();
const server = createSecureServer({
  cert: readFileSync(certificate),
  key: readFileSync(key),
  allowHTTP1: false,
});
server.on("stream", (stream, headers) => {
  const parts = [];
  stream.on("data", (part) => parts.push(part));
  stream.on("end", () => {
    const body = Buffer.concat(parts);
    const wrong = judge(headers, body);
    const path = headers[":path"];
    let [status, reason, more] = [200, "", {}];
    if (wrong.length > 0) [status, reason] = [403, "InvalidProviderToken"];
    else if (path.includes("dead")) [status, reason] = [410, "Unregistered"];
    else if (path.includes("b0b0") && !busy.has(path)) {
      busy.add(path);
      [status, reason, more] = [429, "TooManyRequests", { "retry-after": "1" }];
    }
    const kind = JSON.parse(body.toString()).heddle?.action;
    say({ path, status, wrong, kind, collapse: headers["apns-collapse-id"], body: body.toString() });
    stream.respond({ ":status": status, ...more });
    stream.end(status === 200 ? "" : JSON.stringify({ reason }));
  });
});
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
