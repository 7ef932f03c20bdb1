internal import Buffers
internal import Facts
internal import RPC
internal import WriteAheadLog

/// What the node serves, behind the transport: every call goes to its handler.
struct NodeService: RPCService {
    /// Up to here a body is decoded on the connection's event loop.
    private static let inlineBodyBytes = 64 << 10

    let access: Access
    let append: AppendService
    let fetch: FetchService
    let federation: FederationHandler
    let admin: AdminHandler
    let administration: FederationAdministration
    let notices: NoticeReceiver
    /// Nil where the configuration has no artifacts.
    var artifacts: ArtifactService?
    var streaming: (any StreamingService)?

    var procedures: Set<String> { Set(Procedure.allCases.map(\.rawValue)) }

    func admit(procedure: String, caller: Caller) -> ServiceError? {
        guard let procedure = Procedure(rawValue: procedure) else {
            return ServiceError(.unknownMethod)
        }
        return access.admit(procedure, caller)
    }

    func takesLargeBodies(procedure: String) -> Bool {
        Procedure(rawValue: procedure).map(Procedure.producers.contains) ?? false
    }

    func handle(_ request: RPCRequest, respond: @escaping @Sendable (RPCReply) -> Void) {
        guard let procedure = Procedure(rawValue: request.procedure) else {
            return respond(.failure(ServiceError(.unknownMethod)))
        }
        guard request.body.count > NodeService.inlineBodyBytes else {
            return handle(procedure, request, respond)
        }
        if !append.pool.submit({ handle(procedure, request, respond) }) {
            respond(
                .failure(ServiceError(.overloaded, "too many large requests are in work; retry")))
        }
    }

    private func handle(
        _ procedure: Procedure, _ request: RPCRequest,
        _ respond: @escaping @Sendable (RPCReply) -> Void
    ) {
        switch procedure {
        case .appendFact: append.appendFact(request, respond)
        case .appendFacts: append.appendFacts(request, respond)
        case .fetchFacts: gated(request, respond) { fetch.fetch(request, $0) }
        case .confirmReceipt: gated(request, respond) { fetch.confirm(request, $0) }
        case .putObject: artifacts?.put(request, respond) ?? respond(.failure(access.noArtifacts))
        case .getObject:
            gated(request, respond) { respond in
                artifacts?.get(request, respond) ?? respond(.failure(access.noArtifacts))
            }
        case .openCursor: federation.openCursor(request, respond)
        case .previewFetch: gated(request, respond) { federation.previewFetch(request, $0) }
        case .hello: reply(respond) { () throws(ServiceError) in try federation.hello(request) }
        case .listStreams:
            reply(respond) { () throws(ServiceError) in try federation.listStreams(request) }
        case .notifyAvailable:
            reply(respond) { () throws(ServiceError) in try notices.receive(request) }
        case .listGates, .partition, .reconcile, .startPeer, .reload, .showConfiguration,
            .listRefusals:
            Task {
                do throws(ServiceError) {
                    respond(.message(try await administration.handle(procedure, request)))
                } catch {
                    respond(.failure(error))
                }
            }
        case .status, .createConsumer, .listConsumers, .peek, .redeliver, .detachConsumer,
            .attachConsumer, .acknowledgeAlarm, .listArtifacts, .showArtifact, .listQuarantine,
            .showQuarantine, .retryQuarantine, .discardQuarantine, .resolveQuarantine,
            .acceptHistory, .getFact, .queryFacts, .deleteConsumer:
            Task {
                do throws(ServiceError) {
                    respond(.message(try await admin.handle(procedure, request)))
                } catch {
                    respond(.failure(error))
                }
            }
        }
    }

    /// A peer's call goes through its gate.
    private func gated(
        _ request: RPCRequest, _ respond: @escaping @Sendable (RPCReply) -> Void,
        _ body: (@escaping @Sendable (RPCReply) -> Void) -> Void
    ) {
        guard case .peer(let id) = request.caller.kind else { return body(respond) }
        access.gates.serve(id, respond, body)
    }

    /// Pages go to a peer as LZ4 where its entry says so too.
    func allowsLZ4(_ caller: Caller) -> Bool {
        guard case .peer(let id) = caller.kind else { return false }
        return access.configuration.peer(id: id)?.compression == .lz4
    }

    private func reply(
        _ respond: (RPCReply) -> Void, _ body: () throws(ServiceError) -> [UInt8]
    ) {
        do throws(ServiceError) {
            respond(.message(try body()))
        } catch {
            respond(.failure(error))
        }
    }

    func timedOut(procedure: String) -> ServiceError {
        switch Procedure(rawValue: procedure) {
        case .appendFact, .appendFacts:
            ServiceError(
                .outcomeUnknown,
                "the deadline passed while the append was under way; retry with the same id")
        case .putObject:
            ServiceError(
                .outcomeUnknown,
                "the deadline passed while the artifact was being stored; put it again, which is safe")
        default: ServiceError(.deadlineExceeded)
        }
    }

    func health(caller: Caller) -> [UInt8] {
        let stopped = append.logs.all.filter { $0.log.statistics().poison != nil }
        var body: [UInt8] = Array("{\"status\":".utf8)
        JSONText.appendString((stopped.isEmpty ? "ok" : "degraded").utf8, to: &body)
        func member(_ name: String, _ value: String) {
            body.append(UInt8(ascii: ","))
            JSONText.appendString(name.utf8, to: &body)
            body.append(UInt8(ascii: ":"))
            JSONText.appendString(value.utf8, to: &body)
        }
        member("zone", access.configuration.zone)
        member("identity", access.configuration.identity)
        member("release", NodeRelease.name)
        member("caller_identity", caller.identity)
        member("caller_roles", roles(caller).joined(separator: ","))
        // A log that stopped takes nothing more: producers and balancers look elsewhere.
        body += Array(",\"ready\":\(stopped.isEmpty)".utf8)
        // Two clocks that differ explain certificates that are "not yet valid".
        body += Array(",\"time_unix_ms\":\(GatewayNode.nowMilliseconds())".utf8)
        body.append(UInt8(ascii: "}"))
        return body
    }

    private func roles(_ caller: Caller) -> [String] {
        switch caller.kind {
        case .administrator: ["administrator"]
        case .peer: ["peer"]
        case .client:
            (access.configuration.client(identity: caller.identity)?.roles ?? [])
                .map(\.rawValue).sorted()
        }
    }
}
