internal import Facts
package import Logging
internal import RPC
internal import ServiceLifecycle
internal import UnixSignals

/// A node's server with its certificates and callers, which answers every append with a constant and stores
/// nothing: the limit beside which a node's rates are measured.
package enum ConstantServing {
    private struct Answering: RPCService {
        let zone: String
        private let appendFact: [WireEncoding: [UInt8]]
        private let appendFacts: [WireEncoding: [UInt8]]

        init(zone: String) {
            self.zone = zone
            let digest = SHA256.hash([]).data
            var one = Bsfg_V1_AppendFactResponse()
            one.offset = 0
            one.epoch = 1
            one.outcome = .appended
            one.contentDigest = digest
            var result = Bsfg_V1_AppendResult()
            result.offset = 0
            result.outcome = .appended
            result.contentDigest = digest
            var many = Bsfg_V1_AppendFactsResponse()
            many.epoch = 1
            many.outcomes = [result]
            appendFact = Self.encoded(one)
            appendFacts = Self.encoded(many)
        }

        private static func encoded(_ response: Bsfg_V1_AppendFactResponse) -> [WireEncoding: [UInt8]] {
            [.json: WireCodec.encode(response, .json), .proto: WireCodec.encode(response, .proto)]
        }

        private static func encoded(_ response: Bsfg_V1_AppendFactsResponse)
            -> [WireEncoding: [UInt8]]
        {
            [.json: WireCodec.encode(response, .json), .proto: WireCodec.encode(response, .proto)]
        }

        var procedures: Set<String> {
            [Procedure.appendFact.rawValue, Procedure.appendFacts.rawValue]
        }

        func admit(procedure: String, caller: Caller) -> ServiceError? { nil }

        func handle(_ request: RPCRequest, respond: @escaping @Sendable (RPCReply) -> Void) {
            let answers =
                request.procedure.utf8.elementsEqual(Procedure.appendFact.rawValue.utf8)
                ? appendFact : appendFacts
            respond(.message(answers[request.encoding] ?? []))
        }

        func timedOut(procedure: String) -> ServiceError { ServiceError(.deadlineExceeded) }

        func health(caller: Caller) -> [UInt8] {
            var body: [UInt8] = Array("{\"status\":\"stores nothing\",\"zone\":".utf8)
            JSONText.appendString(zone.utf8, to: &body)
            body.append(UInt8(ascii: "}"))
            return body
        }
    }

    private struct ServerRun: Service {
        let server: RPCServer
        let ready: @Sendable () -> Void

        func run() async throws {
            _ = try await server.start()
            ready()
            try? await gracefulShutdown()
            await server.stop(graceSeconds: 5)
        }
    }

    /// Answers on the addresses of a configuration until SIGTERM or SIGINT; opens no log.
    /// - Throws: `NodeError` when it could not start.
    package static func run(
        _ configuration: NodeConfiguration, _ credentials: NodeCredentials, logger: Logger,
        ready: @escaping @Sendable () -> Void
    ) async throws {
        var settings = RPCServerConfiguration(
            listeners: configuration.listeners.map {
                RPCListener(.tcp(host: $0.address.host, port: $0.address.port, accept: $0.accept))
            }, tls: credentials.serverTLS)
        settings.limits = configuration.limits
        do {
            let server = try RPCServer(
                configuration: settings, service: Answering(zone: configuration.zone),
                verifier: credentials.verifier, logger: logger)
            let group = ServiceGroup(
                configuration: ServiceGroupConfiguration(
                    services: [
                        ServiceGroupConfiguration.ServiceConfiguration(
                            service: ServerRun(server: server, ready: ready),
                            successTerminationBehavior: .gracefullyShutdownGroup)
                    ],
                    gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
            try await group.run()
        } catch let error as RPCServerError {
            throw NodeError(error.sentence)
        }
    }
}
