// Starts npm's web-push-testing, which decrypts what arrives and checks the signature, and makes
// subscriptions in it: node web_push.mjs PACKAGES VAPID_PUBLIC_KEY.
// Says two subscriptions, the second of which has expired; each line on stdin asks for what the
// first one got.
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

const [packages, applicationServerKey] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const { PushApiModel } = require("web-push-testing/src/PushApiModel.js");
const WebPushTestingServer = require("web-push-testing/src/server.js");
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// The package listens on a port that it is given: one that is free now.
const probe = createServer();
const port = await new Promise((taken) => {
  probe.listen(0, () => {
    const { port } = probe.address();
    probe.close(() => taken(port));
  });
});
console.log = console.error;
const model = new PushApiModel();
const server = new WebPushTestingServer(model, port);
server.startServer();
server._server.on("listening", async () => {
  const subscription = () => model.subscribe({ userVisibleOnly: "true", applicationServerKey });
  const [living, expired] = [await subscription(), await subscription()];
  model.expireSubscription(expired.clientHash);
  say({ port, living, expired });
  createInterface({ input: process.stdin }).on("line", () => {
    let messages = [];
    try {
      ({ messages } = model.getNotifications({ clientHash: living.clientHash }));
    } catch (error) {
      console.error(error);
    }
    say({ messages });
  });
});
