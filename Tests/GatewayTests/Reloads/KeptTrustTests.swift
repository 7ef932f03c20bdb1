import Facts
import Foundation
import RPC
import Testing

@testable import Gateway

/// What a reload keeps of the trust in force, and whom it asks again.
@Suite struct KeptTrustTests {
    private func put(_ list: RevocationList, _ bench: ReloadBench) throws {
        try CertificateFiles.write(list.pem, to: "\(bench.directory)/certs/ca.crl", mode: 0o644, force: true)
    }

    private func isRefused(_ leaf: X509Certificate, _ bench: ReloadBench) -> Bool {
        if case .failure = bench.parts.verifier.verify(leafDER: leaf.der, direction: .incoming) { true } else { false }
    }

    @Test("gateway decision 39: a CRL that could not be kept counts all the same, and is kept once it can be")
    func aListThatCannotBeKept() async throws {
        let bench = try await ReloadBench()
        // The one that the watch asks.
        let reloader = bench.parts.reloader
        let leaf = try bench.authority.issue(CertificateRequest(identity: "mes")).certificate
        let first = try bench.authority.revoke(serials: [], previous: nil)
        let second = try bench.authority.revoke(serials: [leaf.serial], previous: first)
        // As on a full disk.
        let place = "\(bench.directory)/data/crl"
        try Data().write(to: URL(fileURLWithPath: place))
        try put(second, bench)
        try await reloader.reloadCertificates()
        #expect(isRefused(leaf, bench))
        try put(first, bench)
        try await reloader.reloadCertificates()
        #expect(isRefused(leaf, bench), "the newest is in memory")
        try FileManager.default.removeItem(atPath: "\(bench.directory)/certs/ca.crl")
        try await reloader.reloadCertificates()
        #expect(isRefused(leaf, bench))
        try FileManager.default.removeItem(atPath: place)
        bench.parts.certificateWatch.start()
        let kept = KeptRevocations(dataDirectory: "\(bench.directory)/data")
        try await eventually("the list in its place") {
            kept.read(bench.authority.certificate)?.fingerprint == second.fingerprint
        }
        await bench.close()
    }

    @Test("gateway decision 39: when a required CRL becomes stale, connections to its CA's peers are asked again")
    func connectionsToPeersOfAStaleList() async throws {
        let bench = try await ReloadBench()
        // Soon it has had its time.
        let now = Int64(Date().timeIntervalSince1970)
        let end = now + 5
        try put(
            try bench.authority.revoke(serials: [], previous: nil, days: 1, atSeconds: end - 86_400), bench)
        try bench.write(
            "peers.yaml",
            ReloadBench.peers.replacing("authorized: true", with: "authorized: true, crl: required"))
        _ = try await bench.reloader.reload(by: "test")
        let holder = try bench.authority.issue(CertificateRequest(identity: "mes"))
        let client = try bench.client(as: holder, trusting: [bench.authority])
        let outgoing = await bench.reloader.credentials.outgoing
        outgoing.add(client, peer: "plant-a")
        _ = try await client.call("/test/Echo", [1])
        // Nothing of the peer changed yet.
        try await bench.reloader.reloadCertificates()
        _ = try await client.call("/test/Echo", [1])
        #expect(Int64(Date().timeIntervalSince1970) < end, "the list was still good")
        while Int64(Date().timeIntervalSince1970) <= end { try await Task.sleep(for: .milliseconds(100)) }
        try await bench.reloader.reloadCertificates()
        // The verifier of the peer's entry was asked, which knows this server for another one.
        let error = await #expect(throws: RPCClientError.self) { try await client.call("/test/Echo", [1]) }
        #expect(error?.transportKind == .identity)
        await client.close()
        await bench.close()
    }

    @Test("gateway decision 40: a reload says that a CRL cannot be used, and puts the rest in force")
    func aReloadWithAnUnusableList() async throws {
        let bench = try await ReloadBench()
        try bench.write("certs/ca.crl", "garbage")
        let moved = ReloadBench.peers.replacing("127.0.0.1:1", with: "127.0.0.1:2")
        try bench.write("peers.yaml", moved)
        let error = await #expect(throws: ServiceError.self) { try await bench.reloader.reload(by: "test") }
        #expect(error?.message.contains("/certs/ca.crl") == true, "\(error as Any)")
        #expect(error?.message.hasSuffix("; the rest of what was read is in force") == true)
        #expect(bench.live.current.peer(id: "plant-a")?.endpoint?.port == 2)
        #expect(await bench.reloader.refusedFiles?.contains("/certs/ca.crl") == true)
        let causes = await bench.reloader.refusedCauses
        #expect(causes.count == 1)
        try bench.issue("somebody-else")
        await #expect(throws: ServiceError.self) { try await bench.reloader.reloadCertificates() }
        #expect(await bench.reloader.refusedCauses == causes.union(["pair"]))
        try bench.issue()
        try FileManager.default.removeItem(atPath: "\(bench.directory)/certs/ca.crl")
        try await bench.reloader.reloadCertificates()
        #expect(await bench.reloader.refusedFiles == nil)
        await bench.close()
    }

    @Test("gateway decision 39: the status names a stale CRL")
    func aStatusNamesAStaleList() async throws {
        let bench = try await ReloadBench()
        let end = Int64(Date().timeIntervalSince1970) - 3_600
        try put(
            try bench.authority.revoke(serials: [], previous: nil, days: 1, atSeconds: end - 86_400), bench)
        #expect(await AdminHandler.certificate(bench.reloader).staleCrls == [])
        try await bench.reloader.reloadCertificates()
        let status = await AdminHandler.certificate(bench.reloader)
        #expect(status.staleCrls == ["'CN = reload ca' since \(UTCText.text(end))"])
        #expect(status.refusedFiles == "" && status.problem == "", "it is in force, and refuses nobody")
        await bench.close()
    }
}
