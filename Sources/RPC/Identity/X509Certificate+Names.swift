internal import COpenSSL

extension X509Certificate {
    package static let namesMaximum = 256

    /// The names an identity can be in: common names, DNS names and URIs. A name with a zero byte
    /// inside, or more than `namesMaximum`, makes the certificate unusable, since what reads it
    /// next might see another name.
    package func names() throws(CertificateError) -> [CertificateName] {
        try alternativeNames().compactMap(\.name) + commonNames()
    }

    /// The IP addresses among the alternative names, in text form.
    package func addresses() throws(CertificateError) -> [String] {
        try alternativeNames().compactMap { alternative in
            if case .address(let text) = alternative { return text }
            return nil
        }
    }

    private enum AlternativeName {
        case named(CertificateName)
        case address(String)

        var name: CertificateName? {
            if case .named(let name) = self { return name }
            return nil
        }
    }

    private func alternativeNames() throws(CertificateError) -> [AlternativeName] {
        var critical: Int32 = 0
        guard let raw = X509_get_ext_d2i(handle, NID_subject_alt_name, &critical, nil) else {
            // -1: there is none; -2: more than one; anything else: it cannot be decoded.
            guard critical == -1 else {
                throw .libcrypto("the certificate's subject alternative names cannot be read")
            }
            return []
        }
        let names = OpaquePointer(raw)
        defer { GENERAL_NAMES_free(names) }
        let count = bsfg_general_names_count(names)
        guard count <= Self.namesMaximum else {
            throw CertificateError(
                "the certificate has \(count) alternative names, at most \(Self.namesMaximum) are read")
        }
        var found: [AlternativeName] = []
        for index in 0..<count {
            guard let general = bsfg_general_name(names, index) else { continue }
            switch general.pointee.type {
            case GEN_DNS:
                let text = try asciiText(general.pointee.d.dNSName)
                found.append(.named(CertificateName(kind: .dns, text: text)))
            case GEN_URI:
                let text = try asciiText(general.pointee.d.uniformResourceIdentifier)
                let stripped = text.utf8.starts(with: Self.scheme.utf8)
                    ? String(text.dropFirst(Self.scheme.count)) : text
                found.append(.named(CertificateName(kind: .uri, text: stripped)))
            case GEN_IPADD:
                if let text = IPAddress(bytes(general.pointee.d.iPAddress))?.text {
                    found.append(.address(text))
                }
            default:
                continue
            }
        }
        return found
    }

    private static let scheme = "bsfg://"

    private func commonNames() throws(CertificateError) -> [CertificateName] {
        let subject = X509_get_subject_name(handle)
        var found: [CertificateName] = []
        var index: Int32 = -1
        while true {
            index = X509_NAME_get_index_by_NID(subject, NID_commonName, index)
            guard index >= 0 else { return found }
            guard found.count < Self.namesMaximum else {
                throw CertificateError("the certificate has too many common names")
            }
            let data = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index))
            var utf8: UnsafeMutablePointer<UInt8>?
            let count = ASN1_STRING_to_UTF8(&utf8, data)
            guard count >= 0, let utf8 else {
                throw .libcrypto("the certificate's common name cannot be read")
            }
            defer { CRYPTO_free(utf8, #fileID, #line) }
            let text = Array(UnsafeBufferPointer(start: utf8, count: Int(count)))
            found.append(CertificateName(kind: .commonName, text: try checked(text)))
        }
    }

    private func asciiText(
        _ string: UnsafePointer<ASN1_STRING>?
    ) throws(CertificateError) -> String {
        let text = bytes(string)
        guard text.allSatisfy({ $0 < 0x80 }) else {
            throw CertificateError("an alternative name of the certificate is not ASCII")
        }
        return try checked(text)
    }

    private func checked(_ text: [UInt8]) throws(CertificateError) -> String {
        guard !text.contains(0) else {
            throw CertificateError("a name of the certificate contains a zero byte")
        }
        guard let string = String(validating: text, as: UTF8.self) else {
            throw CertificateError("a name of the certificate is not UTF-8")
        }
        return string
    }

    private func bytes(_ string: UnsafePointer<ASN1_STRING>?) -> [UInt8] {
        guard let string, let start = ASN1_STRING_get0_data(string) else { return [] }
        return Array(UnsafeBufferPointer(start: start, count: Int(ASN1_STRING_length(string))))
    }
}
