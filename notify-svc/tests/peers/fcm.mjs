// Stands for Google: an OAuth server that validates the assertion, and the v1 endpoint.
// node fcm.mjs ACCOUNT_FILE; makes an account, writes its key file, says its port, then one line of
// JSON per request. The registration token gone is no longer known.
import { createServer } from "node:http";
import { writeFileSync } from "node:fs";
import { generateKeyPairSync, randomUUID, verify } from "node:crypto";

const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const email = "pusher@example.iam.gserviceaccount.com";
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const granted = new Set();
let tokenUrl = "";

function grant(form) {
  const wrong = [];
  const must = (what, holds) => holds || wrong.push(what);
  const [head, claims, signature] = (form.get("assertion") ?? "").split(".");
  const json = (part) => JSON.parse(Buffer.from(part ?? "", "base64url").toString() || "{}");
  const it = json(claims);
  must("grant", form.get("grant_type") === "urn:ietf:params:oauth:grant-type:jwt-bearer");
  must("alg", json(head).alg === "RS256");
  must("signature", verify("sha256", Buffer.from(`${head}.${claims}`), publicKey,
    Buffer.from(signature ?? "", "base64url")));
  must("iss", it.iss === email);
  must("aud", it.aud === tokenUrl);
  must("scope", it.scope === "https://www.googleapis.com/auth/firebase.messaging");
  must("life", it.exp - it.iat <= 3600 && it.exp > Date.now() / 1000);
  return wrong;
}

// What shows something is a notification that Android puts in the place of the one with its tag;
// what takes it away is data alone, which the app reads, and a badge for iOS.
function judge({ data, notification, android, apns }) {
  const wrong = [];
  const must = (what, holds) => holds || wrong.push(what);
  must("collapse", android.collapse_key === data.conversation_id
    && apns.headers["apns-collapse-id"] === data.conversation_id);
  must("badge", apns.payload.aps.badge === Number(data.badge));
  if (data.action === "clear") {
    must("data alone", notification === undefined && android.notification === undefined);
    must("nothing shown", apns.payload.aps.alert === undefined);
    must("wakes the app", apns.payload.aps["content-available"] === 1);
    must("not urgent", android.priority === "NORMAL" && apns.headers["apns-priority"] === "5");
  } else {
    must("action", data.action === "message");
    must("tag", android.notification?.tag === data.conversation_id);
    must("words", typeof (notification?.body ?? android.notification?.body_loc_key) === "string");
    must("urgent", android.priority === "HIGH" && apns.headers["apns-priority"] === "10");
  }
  return wrong;
}

function send(request, body) {
  const token = (request.headers.authorization ?? "").replace(/^Bearer /, "");
  if (!granted.has(token)) return [401, { error: { status: "UNAUTHENTICATED" } }];
  const { message } = JSON.parse(body);
  const strings = Object.values(message.data ?? {}).every((it) => typeof it === "string");
  if (!strings || body.length > 4096) return [400, { error: { status: "INVALID_ARGUMENT" } }];
  if (message.token === "gone") {
    return [404, { error: { status: "NOT_FOUND", details: [{ errorCode: "UNREGISTERED" }] } }];
  }
  return [200, { name: "projects/example/messages/1" }];
}

const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts).toString();
    let [status, answer, wrong, kind] = [404, {}, [], ""];
    if (request.url === "/token") {
      wrong = grant(new URLSearchParams(body));
      const access_token = randomUUID();
      if (wrong.length === 0) granted.add(access_token);
      [status, answer] = wrong.length === 0
        ? [200, { access_token, expires_in: 3599, token_type: "Bearer" }]
        : [400, { error: "invalid_grant" }];
    } else if (request.url === "/v1/projects/example/messages:send") {
      [status, answer] = send(request, body);
      const { message } = JSON.parse(body);
      wrong = judge(message);
      kind = message.data.action;
    }
    say({ path: request.url, status, wrong, kind, body: request.url === "/token" ? "" : body });
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(answer));
  });
});
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  tokenUrl = `http://127.0.0.1:${port}/token`;
  writeFileSync(process.argv[2], JSON.stringify({
    type: "service_account",
    project_id: "example",
    client_email: email,
    token_uri: tokenUrl,
    private_key: privateKey.export({ type: "pkcs8", format: "pem" }),
  }));
  say({ port });
});
