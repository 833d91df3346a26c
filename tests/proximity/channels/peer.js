// An HTTP/2 server by Node's nghttp2, which does what the path asks for, good or bad.
const http2 = require("http2");
const fs = require("fs");
const [key, cert, streams, windowSize] = process.argv.slice(1);
const { NGHTTP2_REFUSED_STREAM, NGHTTP2_INTERNAL_ERROR } = http2.constants;
const settings = { initialWindowSize: Number(windowSize), maxConcurrentStreams: Number(streams) };
const server = http2.createSecureServer({
  key: fs.readFileSync(key), cert: fs.readFileSync(cert), settings,
});
let sessions = 0, pings = 0, open = 0, most = 0;
const seen = {};
const sockets = []; // of the sessions, in their order
server.on("secureConnection", (socket) => { sockets.push(socket); });
server.on("session", (session) => {
  session.number = ++sessions;
  session.on("ping", () => { pings += 1; });
  session.on("error", () => {});
});
server.on("stream", (stream, headers) => {
  const session = stream.session;
  const path = headers[":path"];
  const times = (seen[path] = (seen[path] || 0) + 1);
  most = Math.max(most, ++open);
  stream.on("close", () => { open -= 1; });
  stream.on("error", () => {});
  let size = 0;
  const answer = (status = 200) => {
    if (stream.destroyed) return;
    stream.respond({ ":status": status });
    stream.end(JSON.stringify({ session: session.number, sessions, pings, size, times, most, open }));
  };
  stream.on("data", (piece) => { size += piece.length; });
  stream.on("end", () => {
    switch (path.split("-")[0]) {
      case "/ok": return void setTimeout(answer, 5);
      case "/reset": return stream.close(NGHTTP2_INTERNAL_ERROR);
      case "/refuse": return times === 1 ? stream.close(NGHTTP2_REFUSED_STREAM) : answer();
      case "/goaway": // it goes on with what it has begun with
        session.goaway(0, stream.id);
        return void setTimeout(answer, 50);
      case "/unbegun": // it says that it has not begun with this one
        return times === 1 ? session.goaway(0, 1) : answer();
      case "/cut": return sockets[session.number - 1].destroy();
      case "/half":
        stream.respond({ ":status": 200 });
        return void setTimeout(() => sockets[session.number - 1].destroy(), 20);
      case "/big":
        stream.respond({ ":status": 200 });
        return stream.end("x".repeat(100000));
      case "/early": return; // answered before the body was there
      case "/silent": return;
      default: return answer(404);
    }
  });
  if (path.startsWith("/early")) answer(413);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
