internal import ArgumentParser
internal import Facts
internal import Gateway
internal import Load
internal import RPC

/// A running node to aim a load at, instead of one of our own.
struct TargetOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A running node, with --cert, --key and --ca of a producer there. Its facts stay.",
            valueName: "host:port"))
    var endpoint: String?

    @Option(help: ArgumentHelp("The producer's certificate (PEM).", valueName: "FILE"))
    var cert: String?

    @Option(help: ArgumentHelp("Its key (PEM).", valueName: "FILE"))
    var key: String?

    @Option(
        help: ArgumentHelp("The CA that the node's certificate is to chain to.", valueName: "FILE"))
    var ca: String?

    @Option(help: "The stream to append to.")
    var stream = StreamConfiguration.defaultName

    func validate() throws {
        let given = [endpoint, cert, key, ca].filter { $0 != nil }.count
        guard given == 0 || given == 4 else {
            throw ValidationError("--endpoint, --cert, --key and --ca go together.")
        }
    }

    /// Nil where no running node is named.
    func target() async throws -> LoadTarget? {
        guard let endpoint, let cert, let key, let ca else { return nil }
        guard let address = HostPort(endpoint) else {
            throw CommandFailure(.usage, "--endpoint is host:port, not '\(endpoint)'")
        }
        let credentials = try ClientCredentials(
            certificateFile: cert, keyFile: key, authorityFile: ca)
        var target = LoadTarget(
            host: address.host, port: address.port, tls: credentials.tls(host: address.host),
            stream: stream, verifier: credentials.verifier(host: address.host))
        // A server that is no node, to compare with, has no zone; whatever is sent will do.
        if let zone = try await target.zone() { (target.fromZone, target.toZone) = (zone, zone) }
        return target
    }
}

/// Where a load goes and as whom.
struct LoadTarget: Sendable {
    var host: String
    var port: Int
    var tls: RPCClientTLS
    var stream: String
    var fromZone = TwoZoneSite.source
    var toZone = TwoZoneSite.receiver
    var verifier: @Sendable ([UInt8]) async -> ServiceRefusal?

    /// The sending zone's node of our own.
    static func source(_ site: TwoZoneSite) throws -> LoadTarget {
        let path = site.client(TwoZoneSite.producer)
        let expected = site.sourceCertificate
        return LoadTarget(
            host: "127.0.0.1", port: site.sourcePort,
            tls: RPCClientTLS(
                certificateChain: try SmallText.read("\(path).crt"),
                privateKey: try SmallText.read("\(path).key"),
                trustRoots: try SmallText.read(site.authorityFile)),
            stream: TwoZoneSite.stream
        ) { leaf in
            leaf == expected
                ? nil
                : ServiceRefusal(reason: "server_identity", sentence: "the server is not ours")
        }
    }

    var configuration: RPCClientConfiguration { RPCClientConfiguration(host: host, port: port) }

    func zone() async throws -> String? {
        let client = try CommandFailure.calling { () throws(RPCClientError) in
            try RPCClient(configuration, tls: tls, verifier: verifier)
        }
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.get("/health")
        }
        await client.close()
        return answer.status == 200 ? NodeHealth(answer.body)?.zone : nil
    }

    /// Whether it answers.
    func answers() async -> Bool { (try? await zone()) != nil }

    func template(messageBytes: Int, batch: Int?) throws -> FactTemplate {
        let run = "bench-" + String(UInt32.random(in: .min ... .max), radix: 16)
        do throws(FactError) {
            return try FactTemplate(
                run: run, stream: stream, fromZone: fromZone, toZone: toZone, batch: batch,
                messageBytes: messageBytes, nowUnixMilliseconds: Pacing.unixMilliseconds())
        } catch {
            throw CommandFailure(.usage, error.sentence)
        }
    }

    /// A client for the load, connected.
    func client(_ shape: LoadShape, batch: Int?) async throws -> LoadClient {
        let procedure =
            batch == nil
            ? "/bsfg.v1.BoundaryService/AppendFact" : "/bsfg.v1.IngestService/AppendFacts"
        do throws(RPCClientError) {
            let client = try LoadClient(
                configuration, tls: tls, shape: shape, procedure: procedure, verifier: verifier)
            try await client.connect()
            return client
        } catch {
            throw CommandFailure(.unavailable, "no connection to \(host):\(port): \(error)")
        }
    }
}
