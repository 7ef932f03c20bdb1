internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// Sends one procedure's calls as fast or as regularly as its driver says, from one event loop: the calls
/// of a burst of answers leave together. For measuring a server with little of the machine.
package final class LoadClient: Sendable {
    private let core: LoadCore

    /// A client of one endpoint and one procedure; nothing is sent before `connect`. `verifier` as in
    /// `RPCClient`.
    package init(
        _ configuration: RPCClientConfiguration, tls: RPCClientTLS, shape: LoadShape,
        procedure: String, verifier: @escaping @Sendable ([UInt8]) async -> ServiceRefusal?
    ) throws(RPCClientError) {
        let protocols =
            switch shape.version {
            case .http1: [HTTP1LoadCodec.protocolName]
            case .http2: [HTTP2LoadCodec.protocolName]
            }
        core = LoadCore(
            configuration, tlsContext: try tls.makeContext(protocols: protocols),
            serverName: tls.serverName, shape: shape, procedure: procedure,
            loop: MultiThreadedEventLoopGroup.singleton.next(), verifier: verifier)
    }

    /// Makes every connection, one after the other: servers limit how many may be unauthenticated.
    package func connect() async throws(RPCClientError) {
        for index in 0..<core.shape.connections {
            do {
                try await core.loop.flatSubmit { [core] in core.connect(index) }.get()
            } catch let error as RPCClientError {
                throw error
            } catch {
                throw .transport(kind: .closed, sentence: "no connection: \(error)")
            }
        }
    }

    /// Returns when the driver has finished and every call is answered, or no connection is left.
    package func run(_ driver: any LoadDriver) async {
        let promise = core.loop.makePromise(of: Void.self)
        core.loop.execute { [core] in core.run(driver, promise) }
        try? await promise.futureResult.get()
    }

    package func close() async {
        try? await core.loop.submit { [core] in core.close() }.get()
    }
}

/// Confined to `loop`, which makes `@unchecked Sendable` true.
private final class LoadCore: @unchecked Sendable {
    let loop: any EventLoop
    let shape: LoadShape
    private let configuration: RPCClientConfiguration
    private let tlsContext: NIOSSLContext
    private let serverName: String?
    private let procedure: String
    private let verifier: ClientCore.Verifier
    private var connections: [any LoadConnection] = []
    /// A connection is in here as often as it could take another call.
    private var free = CircularBuffer<Int>()
    private var inFlight = 0
    private var driver: (any LoadDriver)?
    private var ended: EventLoopPromise<Void>?
    private var isFinished = false
    private var isPumping = false
    private var timer: (at: UInt64, task: Scheduled<Void>)?
    private var watch: RepeatedTask?

    /// Waking up costs a few microseconds, so it is not done more often than this.
    private static let tickNanoseconds: UInt64 = 50_000

    init(
        _ configuration: RPCClientConfiguration, tlsContext: NIOSSLContext, serverName: String?,
        shape: LoadShape, procedure: String, loop: any EventLoop,
        verifier: @escaping ClientCore.Verifier
    ) {
        self.configuration = configuration
        self.tlsContext = tlsContext
        self.serverName = serverName
        self.shape = shape
        self.procedure = procedure
        self.loop = loop
        self.verifier = verifier
    }

    func connect(_ index: Int) -> EventLoopFuture<Void> {
        if watch == nil {
            watch = loop.scheduleRepeatedTask(
                initialDelay: .seconds(1), delay: .seconds(1)
            ) { [self] _ in
                for connection in connections { connection.look() }
            }
        }
        let connection: any LoadConnection
        let (authority, limit) = (configuration.authority, configuration.responseBytes)
        switch shape.version {
        case .http1:
            connection = TLSLoadConnection(
                configuration,
                HTTP1LoadCodec(authority: authority, procedure: procedure, bodyBytesMaximum: limit),
                verifier: verifier)
        case .http2:
            connection = TLSLoadConnection(
                configuration,
                HTTP2LoadCodec(authority: authority, procedure: procedure, bodyBytesMaximum: limit),
                verifier: verifier)
        }
        add(connection)
        return connection.connect(tlsContext, serverName: serverName, loop: loop)
    }

    private func add(_ connection: any LoadConnection) {
        let index = connections.count
        connections.append(connection)
        // As many as its share of all that may be in flight.
        let share = shape.inFlight * (index + 1) / shape.connections
            - shape.inFlight * index / shape.connections
        for _ in 0..<share { free.append(index) }
    }

    func run(_ driver: any LoadDriver, _ promise: EventLoopPromise<Void>) {
        precondition(self.driver == nil, "one run at a time")
        self.driver = driver
        ended = promise
        isFinished = false
        pump()
    }

    private func pump() {
        guard let driver, !isPumping else { return }
        isPumping = true
        defer { isPumping = false }
        while !isFinished, let index = free.first {
            let connection = connections[index]
            guard connection.isUsable else {
                free.removeFirst()
                continue
            }
            let now = NIODeadline.now().uptimeNanoseconds
            switch driver.next(nowNanoseconds: now) {
            case .send(let number, let body):
                free.removeFirst()
                inFlight += 1
                connection.send(body) { [self] result in answered(number, index, result) }
            case .wait(let time): return wake(at: max(time, now + Self.tickNanoseconds))
            case .finished: isFinished = true
            }
        }
        // Without a usable connection and without an answer to come nothing more happens.
        if inFlight == 0, isFinished || free.isEmpty { end() }
    }

    private func answered(
        _ number: Int, _ index: Int, _ result: Result<RPCResponse, RPCClientError>
    ) {
        inFlight -= 1
        free.append(index)
        let body = result.flatMap { response -> Result<[UInt8], RPCClientError> in
            response.status == 200
                ? .success(response.body) : .failure(.status(ConnectErrorBody.failure(response)))
        }
        driver?.answered(number: number, body, nowNanoseconds: NIODeadline.now().uptimeNanoseconds)
        pump()
    }

    private func wake(at time: UInt64) {
        if let timer, timer.at <= time { return }
        timer?.task.cancel()
        let task = loop.assumeIsolated().scheduleTask(
            deadline: .uptimeNanoseconds(time)
        ) { [self] in
            timer = nil
            pump()
        }
        timer = (time, task)
    }

    private func end() {
        timer?.task.cancel()
        timer = nil
        driver = nil
        ended?.succeed()
        ended = nil
    }

    func close() {
        watch?.cancel()
        watch = nil
        for connection in connections { connection.close() }
    }
}
