import Facts
import Foundation
import RPC
import Testing
import WriteAheadLog

@testable import Gateway

@Suite struct ServicesAccessTests {
    private static let admin: Set<Procedure> = [
        .status, .createConsumer, .listConsumers, .peek, .redeliver, .listQuarantine,
        .showQuarantine, .retryQuarantine, .discardQuarantine, .resolveQuarantine, .acceptHistory,
        .getFact, .queryFacts, .deleteConsumer,
    ]

    @Test("gateway decision 34: a role that goes while a body is on its way is missed when it is whole")
    func aRoleThatGoesWhileTheBodyComes() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<1)
        try await bench.consumer("mine", of: "reader")
        let (writer, reader) = (Caller.client("writer"), Caller.client("reader"))
        // As the server asks it with the head of each call.
        #expect(bench.service.admit(procedure: Procedure.appendFact.rawValue, caller: writer) == nil)
        #expect(bench.service.admit(procedure: Procedure.fetchFacts.rawValue, caller: reader) == nil)
        let main = ServicesBench.main
            .replacing("identity: writer, roles: [producer]", with: "identity: writer, roles: [monitor]")
            .replacing("identity: reader, roles: [consumer]", with: "identity: reader, roles: [monitor]")
        try Data(main.utf8).write(to: URL(fileURLWithPath: "\(bench.files.directory)/bsfg.yaml"))
        bench.live.replace(with: try bench.files.load())
        func refusal(
            _ procedure: Procedure, _ json: String, _ caller: Caller
        ) async -> ServiceError? {
            let request = RPCRequest(
                procedure: procedure.rawValue, caller: caller, codec: .json, body: Array(json.utf8),
                deadlineNanoseconds: .max, httpVersion: "2")
            let reply = await withCheckedContinuation { continuation in
                bench.service.handle(request) { continuation.resume(returning: $0) }
            }
            return if case .failure(let error) = reply { error } else { nil }
        }
        let append = await refusal(
            .appendFact, appendJSON(factJSON(2), stream: "facts.operational"), writer)
        #expect(append?.reason == .identityNotAuthorised)
        #expect(append?.message.contains("has not the role producer") == true)
        let fetch = await refusal(.fetchFacts, #"{"consumer_name":"mine"}"#, reader)
        #expect(fetch?.reason == .identityNotAuthorised)
        #expect(bench.log().log.headOffset == 1)
        await bench.close()
    }

    /// Every procedure for every kind of caller: what is not listed is refused.
    @Test(arguments: [
        (Caller.operator, Set(Procedure.allCases)),
        (
            .peer("plant-a"),
            [
                .fetchFacts, .confirmReceipt, .hello, .listStreams, .openCursor, .notifyAvailable,
                .previewFetch, .getObject,
            ]
        ),
        (
            .peer("plant-b"),
            [
                .fetchFacts, .confirmReceipt, .hello, .listStreams, .openCursor, .notifyAvailable,
                .previewFetch, .getObject,
            ]
        ),
        (.peer("plant-c"), []),
        (.peer("unknown"), []),
        (
            .client("both"),
            [
                .appendFact, .appendFacts, .putObject, .fetchFacts, .confirmReceipt,
                .previewFetch, .getObject,
            ]
        ),
        (.client("writer"), [.appendFact, .appendFacts, .putObject]),
        (.client("reader"), [.fetchFacts, .confirmReceipt, .previewFetch, .getObject]),
        (.client("watcher"), []),
        (.client("unknown"), []),
    ] as [(Caller, Set<Procedure>)])
    func `each caller may call what its entry says and nothing else`(
        _ caller: Caller, _ allowed: Set<Procedure>
    ) async throws {
        let bench = try ServicesBench()
        for procedure in Procedure.allCases {
            let refusal = bench.service.admit(procedure: procedure.rawValue, caller: caller)
            #expect(
                (refusal == nil) == allowed.contains(procedure),
                "\(procedure.method) by \(caller.identity)")
            if let refusal { #expect(refusal.reason == .identityNotAuthorised) }
        }
        if case .administrator = caller.kind {} else {
            #expect(allowed.isDisjoint(with: ServicesAccessTests.admin))
        }
        await bench.close()
    }

    @Test func `only the contract's and the administration's procedures are served`() async throws {
        let bench = try ServicesBench()
        #expect(bench.service.procedures.isSuperset(of: Procedure.allCases.map(\.rawValue)))
        #expect(
            bench.service.admit(procedure: "/bsfg.v1.BoundaryService/Nothing", caller: .operator)?
                .reason == .unknownMethod)
        await bench.close()
    }

    @Test func `an append asks for the stream's grant`() async throws {
        let bench = try ServicesBench()
        let fact = factJSON(1)
        #expect(
            await bench.error(.appendFact, appendJSON(fact), as: .client("both")) == nil)
        let refused = await bench.error(
            .appendFact, appendJSON(fact, stream: "facts.audit"), as: .client("both"))
        #expect(refused?.reason == .streamNotGranted && refused?.field == "stream")
        let unknown = await bench.error(
            .appendFacts, #"{"stream":"facts.nothing","facts":[\#(fact)]}"#, as: .client("both"))
        #expect(unknown?.reason == .unknownStream)
        #expect(
            await bench.error(
                .appendFact, appendJSON(fact, stream: "facts.audit"), as: .client("writer")) == nil)
        await bench.close()
    }

    @Test func `reading asks for stream and origin`() throws {
        let configuration = try ConfigurationTestFiles(
            main: ServicesBench.main, peers: ServicesBench.peers,
            cursors: ServicesBench.noCursors
        ).load()
        let access = Access(LiveConfiguration(configuration), gates: PeerGates())
        func reason(_ caller: Caller, _ stream: String, _ origin: String) -> ErrorReason? {
            do throws(ServiceError) {
                try access.checkRead(caller, stream: stream, origin: origin)
                return nil
            } catch {
                return error.reason
            }
        }
        let stream = "facts.operational"
        #expect(reason(.client("reader"), stream, "enterprise") == nil)
        #expect(reason(.client("reader"), stream, "plant-a") == nil)
        #expect(reason(.client("reader"), stream, "cloud") == .originNotGranted)
        #expect(reason(.client("reader"), "facts.audit", "enterprise") == .streamNotGranted)
        #expect(reason(.client("both"), stream, "plant-a") == .originNotGranted)
        #expect(reason(.client("unknown"), stream, "enterprise") == .identityNotAuthorised)
        #expect(reason(.peer("plant-a"), stream, "enterprise") == nil)
        #expect(reason(.peer("plant-a"), stream, "plant-b") == .originNotGranted)
        #expect(reason(.peer("plant-b"), stream, "enterprise") == .streamNotGranted)
        #expect(reason(.peer("plant-c"), stream, "enterprise") == .identityNotAuthorised)
        #expect(reason(.peer("unknown"), stream, "enterprise") == .identityNotAuthorised)
        #expect(reason(.operator, "facts.audit", "plant-b") == nil)
    }

    @Test func `health tells who is asking`() async throws {
        let bench = try ServicesBench()
        func health(_ caller: Caller) -> String {
            String(decoding: bench.service.health(caller: caller), as: UTF8.self)
        }
        #expect(health(.client("both")).contains(#""status":"ok","zone":"enterprise""#))
        #expect(health(.client("both")).contains(#""caller_roles":"consumer,producer""#))
        #expect(health(.peer("plant-a")).contains(#""caller_identity":"plant-a-bsfg""#))
        #expect(health(.operator).contains(#""caller_roles":"administrator""#))
        await bench.close()
    }
}
