// node_peer.js ROUNDS SAMPLES: Node's subprocess.send passes a connected socket to a child, whose message says that it
// took it. Prints one side of a comparison as JSON: tests/bench/run puts ours beside it.
'use strict';
const { fork } = require('child_process');
const net = require('net');

function take() {
    process.on('message', (message, socket) => {
        process.send('taken');
        socket.destroy();
    });
}

function percentile(sorted, percent) {
    return sorted[Math.ceil(sorted.length * percent / 100) - 1];
}

function give(socket, rounds, samples) {
    const child = fork(__filename, ['take']);
    const side = { name: 'Node subprocess.send', p50_ns: [], p99_ns: [] };
    let elapsed = [];
    let start = 0n;
    const handOver = () => {
        start = process.hrtime.bigint();
        child.send('take', socket, { keepOpen: true });
    };
    child.on('message', () => {
        elapsed.push(Number(process.hrtime.bigint() - start));
        if (elapsed.length === samples) {
            elapsed.sort((a, b) => a - b);
            side.p50_ns.push(percentile(elapsed, 50));
            side.p99_ns.push(percentile(elapsed, 99));
            elapsed = [];
        }
        if (side.p50_ns.length <= rounds) {
            handOver();
            return;
        }
        side.p50_ns.shift(); // the first round warms up
        side.p99_ns.shift();
        console.log(JSON.stringify(side));
        child.kill();
        process.exit();
    });
    handOver();
}

if (process.argv[2] === 'take') {
    take();
} else {
    const server = net.createServer((socket) => give(socket, Number(process.argv[2]), Number(process.argv[3])));
    server.listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1'));
}
