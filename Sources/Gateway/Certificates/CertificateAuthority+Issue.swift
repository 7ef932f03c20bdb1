internal import COpenSSL
internal import Glibc
package import RPC

/// What to put into a leaf certificate.
package struct CertificateRequest: Sendable {
    package var identity: String
    /// Names or addresses it is reached at, a virtual address too. None for a pure client.
    package var addresses: [String]
    package var keyKind: PrivateKey.Kind
    package var days: Int

    package init(
        identity: String, addresses: [String] = [], keyKind: PrivateKey.Kind = .p256,
        days: Int = 365
    ) {
        self.identity = identity
        self.addresses = addresses
        self.keyKind = keyKind
        self.days = days
    }
}

/// A leaf with its key.
package struct IssuedCertificate: Sendable {
    package let certificate: X509Certificate
    package let key: PrivateKey
}

extension CertificateAuthority {
    /// Issues a certificate for both directions, valid from 24 hours ago (clocks of plants are
    /// often behind) and never longer than its issuer.
    package func issue(
        _ request: CertificateRequest, atSeconds now: Int64 = Int64(time(nil))
    ) throws(CertificateError) -> IssuedCertificate {
        let (dns, addresses) = try Self.alternativeNames(request)
        try Self.checkDays(request.days)
        guard now < certificate.notAfter else {
            throw CertificateError(
                "the CA expired at \(UTCText.text(certificate.notAfter)); make a new one")
        }
        let leafKey = try PrivateKey.generate(request.keyKind)
        let builder = try CertificateBuilder(
            commonName: request.identity, notBefore: max(now - 86_400, certificate.notBefore),
            notAfter: min(now + Int64(request.days) * 86_400, certificate.notAfter), key: leafKey)
        do {
            let isRSA = request.keyKind != .p256
            try builder.add(NID_basic_constraints, "critical,CA:FALSE", issuer: certificate)
            try builder.add(
                NID_key_usage,
                isRSA ? "critical,digitalSignature,keyEncipherment" : "critical,digitalSignature",
                issuer: certificate)
            try builder.add(NID_ext_key_usage, "serverAuth,clientAuth", issuer: certificate)
            try builder.add(NID_subject_key_identifier, "hash", issuer: certificate)
            try builder.add(NID_authority_key_identifier, "keyid:always", issuer: certificate)
            try builder.addAlternativeNames(dns: dns, addresses: addresses)
            return IssuedCertificate(
                certificate: try builder.sign(issuer: certificate, key: key), key: leafKey)
        } catch {
            builder.discard()
            throw error
        }
    }

    /// The names of a request, checked: its identity, and where its holder is reached.
    static func alternativeNames(
        _ request: CertificateRequest
    ) throws(CertificateError) -> (dns: [String], addresses: [IPAddress]) {
        guard request.identity.utf8.count <= commonNameBytesMaximum, isHostName(request.identity) else {
            throw CertificateError(
                "identity '\(request.identity)' cannot be a DNS name; use up to "
                    + "\(commonNameBytesMaximum) letters, digits, '.', '-' or '_', as in plant-a-bsfg")
        }
        var dns = [request.identity]
        var addresses: [IPAddress] = []
        for text in request.addresses { try add(address: text, dns: &dns, addresses: &addresses) }
        return (dns, addresses)
    }

    private static func add(
        address text: String, dns: inout [String], addresses: inout [IPAddress]
    ) throws(CertificateError) {
        if let address = IPAddress(text) {
            guard !address.isUnspecified else {
                throw CertificateError(
                    "--address \(text) listens everywhere and names nothing; give each address or "
                        + "name that clients call")
            }
            if !addresses.contains(address) { addresses.append(address) }
            return
        }
        guard isHostName(text) else {
            throw CertificateError(
                "--address '\(text)' is neither an IP address nor a host name (without a port)")
        }
        let folded = IdentityGrammar.folded(text)
        if !dns.contains(where: { IdentityGrammar.folded($0) == folded }) { dns.append(text) }
    }

    /// Letters, digits, hyphens and underscores in labels of 1 to 63 bytes.
    static func isHostName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard !bytes.isEmpty, bytes.count <= 253 else { return false }
        return bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            .allSatisfy { label in
                label.count >= 1 && label.count <= 63 && label.first != UInt8(ascii: "-")
                    && label.last != UInt8(ascii: "-")
                    && label.allSatisfy { byte in
                        switch byte {
                        case UInt8(ascii: "a")...UInt8(ascii: "z"),
                            UInt8(ascii: "A")...UInt8(ascii: "Z"),
                            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
                            UInt8(ascii: "_"):
                            true
                        default: false
                        }
                    }
            }
    }
}

extension IssuedCertificate {
    /// Writes `<name>.crt`, `<name>.key` and beside them `ca.crt`. A `ca.crt` that is there already
    /// stays as it is when it holds the issuer, since operators add other zones' CAs to it.
    package func write(
        directory: String, name: String, authority: X509Certificate, force: Bool
    ) throws(CertificateError) {
        let certificatePath = "\(directory)/\(name).crt"
        let keyPath = "\(directory)/\(name).key"
        let authorityPath = "\(directory)/\(CertificateAuthority.certificateName)"
        if !force {
            for path in [keyPath, certificatePath] where CertificateFiles.exists(path) {
                throw CertificateFiles.refusal(path)
            }
        }
        let authorityIsThere = try Self.holds(authorityPath, authority)
        try CertificateArchive.keepBeforeReplacing(certificatePath)
        try CertificateFiles.makeDirectory(directory)
        var files = [
            CertificateFiles.NewFile(keyPath, try key.pem(), mode: 0o600, isReplacing: force),
            CertificateFiles.NewFile(certificatePath, certificate.pem, mode: 0o644, isReplacing: force),
        ]
        if !authorityIsThere {
            files.append(
                CertificateFiles.NewFile(authorityPath, authority.pem, mode: 0o644, isReplacing: false))
        }
        try CertificateFiles.write(files)
    }

    private static func holds(
        _ path: String, _ authority: X509Certificate
    ) throws(CertificateError) -> Bool {
        guard CertificateFiles.exists(path) else { return false }
        let known = try X509Certificate.all(file: path)
        guard known.contains(where: { $0.fingerprint == authority.fingerprint }) else {
            throw CertificateError(
                "\(path) exists and does not hold the issuing CA '\(authority.subject)'; add that "
                    + "certificate to it, or choose another --out")
        }
        return true
    }
}
