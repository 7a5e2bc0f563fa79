//! Pure: text with placeholders → a tree. Go's template language without loops, definitions and
//! variables: what is left ends after as many steps as it has characters.

use super::TemplateFault as Fault;

/// Conditions and parentheses inside each other.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Line, Pipe),
    If { line: Line, pipe: Pipe, rebind: bool, then: Vec<Self>, other: Vec<Self> },
}

/// From 1.
pub(super) type Line = usize;
/// Each command's value is the last argument of the next.
pub(super) type Pipe = Vec<Vec<Operand>>;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// `.a.b`; empty: the dot.
    Field(Vec<String>),
    /// `$.a.b`: of the whole.
    Root(Vec<String>),
    Text(String),
    Number(i64),
    Truth(bool),
    Function(&'static str),
    /// In parentheses, with the fields taken of its value.
    Pipe(Pipe, Vec<String>),
}

/// The functions there are.
pub(super) const FUNCTIONS: [&str; 11] =
    ["and", "eq", "index", "join", "len", "ne", "not", "or", "print", "printf", "println"];
/// Words of Go's language that make loops and definitions.
const LEFT_OUT: [&str; 7] = ["range", "define", "template", "block", "break", "continue", "call"];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Field(Vec<String>),
    Root(Vec<String>),
    Text(String),
    Number(i64),
    Word(String),
    Bar,
    Open,
    /// With the fields right behind it: `).a`.
    Close(Vec<String>),
}

enum Piece {
    Text(String),
    Action(Line, Vec<Token>),
}

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, (Line, Fault)> {
    let pieces = pieces(text)?;
    let mut parser = Parser { pieces: pieces.into_iter().peekable(), depth: 0, line: 1 };
    let (nodes, end) = parser.block().map_err(|fault| (parser.line, fault))?;
    match end {
        None => Ok(nodes),
        Some(tokens) => Err((parser.line, Fault::Unexpected(shown(&tokens)))),
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, (Line, Fault)> {
    let mut pieces = Vec::new();
    let (mut rest, mut line, mut trim) = (text, 1, false);
    while let Some((before, from)) = rest.split_once("{{") {
        let (inner, after) = action(from).ok_or((line + newlines(before), Fault::Unclosed))?;
        let before_line = line + newlines(before);
        let mut kept = if trim { before.trim_start() } else { before };
        let mut body = inner;
        if let Some(trimmed) = body.strip_prefix("- ") {
            (kept, body) = (kept.trim_end(), trimmed);
        }
        trim = body.ends_with(" -");
        body = body.strip_suffix(" -").unwrap_or(body).trim();
        pieces.push(Piece::Text(kept.to_owned()));
        if !(body.starts_with("/*") && body.ends_with("*/")) {
            let tokens = tokens(body).map_err(|fault| (before_line, fault))?;
            pieces.push(Piece::Action(before_line, tokens));
        }
        line = before_line + newlines(inner);
        rest = after;
    }
    let kept = if trim { rest.trim_start() } else { rest };
    pieces.push(Piece::Text(kept.to_owned()));
    Ok(pieces)
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// Splits at the `}}` that is in no string.
fn action(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some((&text[..at], &text[at + 2..])),
            None => {}
        }
    }
    None
}

fn tokens(mut text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    loop {
        text = text.trim_start();
        let Some(first) = text.chars().next() else { return Ok(tokens) };
        let rest = &text[first.len_utf8()..];
        let token = match first {
            '|' => (Token::Bar, rest),
            '(' => (Token::Open, rest),
            ')' => {
                let (fields, rest) = fields(rest)?;
                (Token::Close(fields), rest)
            }
            '.' => dot(text, rest)?,
            '$' => {
                let (fields, rest) = fields(rest)?;
                if rest.starts_with(is_word) {
                    return Err(Fault::NotSupported("a variable".to_owned()));
                }
                (Token::Root(fields), rest)
            }
            '"' => quoted(rest)?,
            '`' => {
                let (raw, rest) = rest.split_once('`').ok_or(Fault::UnterminatedText)?;
                (Token::Text(raw.to_owned()), rest)
            }
            _ if first.is_ascii_digit() || first == '-' => number(text)?,
            _ if is_word(first) => {
                let (word, rest) = split_word(text);
                (Token::Word(word.to_owned()), rest)
            }
            _ => return Err(Fault::Unexpected(format!("{first:?} in operand"))),
        };
        tokens.push(token.0);
        text = token.1;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_word(c)).unwrap_or(text.len()))
}

fn dot<'t>(text: &'t str, rest: &'t str) -> Result<(Token, &'t str), Fault> {
    if rest.starts_with(is_word) {
        let (fields, rest) = fields(text)?;
        return Ok((Token::Field(fields), rest));
    }
    Ok((Token::Field(Vec::new()), rest))
}

fn fields(mut text: &str) -> Result<(Vec<String>, &str), Fault> {
    let mut fields = Vec::new();
    while let Some(rest) = text.strip_prefix('.') {
        let (word, after) = split_word(rest);
        if word.is_empty() {
            return Err(Fault::Unexpected("\".\" in operand".to_owned()));
        }
        fields.push(word.to_owned());
        text = after;
    }
    Ok((fields, text))
}

fn number(text: &str) -> Result<(Token, &str), Fault> {
    let end = text[1..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |at| at + 1);
    let (digits, rest) = text.split_at(end);
    let number = digits.parse().map_err(|_| Fault::Unexpected(format!("{digits:?} in operand")))?;
    Ok((Token::Number(number), rest))
}

fn quoted(text: &str) -> Result<(Token, &str), Fault> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(value), &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, same @ ('"' | '\\'))) => value.push(same),
                Some((_, other)) => {
                    return Err(Fault::Unexpected(format!("\"\\{other}\" in operand")));
                }
                None => break,
            },
            _ => value.push(c),
        }
    }
    Err(Fault::UnterminatedText)
}

struct Parser {
    pieces: std::iter::Peekable<std::vec::IntoIter<Piece>>,
    depth: usize,
    line: Line,
}

impl Parser {
    /// Reads up to the end or an `end` or `else`, which is returned.
    fn block(&mut self) -> Result<(Vec<Node>, Option<Vec<Token>>), Fault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            match piece {
                Piece::Text(text) => nodes.push(Node::Text(text)),
                Piece::Action(line, tokens) => {
                    self.line = line;
                    match word(&tokens) {
                        Some("end" | "else") => return Ok((nodes, Some(tokens))),
                        Some("if" | "with") => nodes.push(self.condition(&tokens)?),
                        _ => nodes.push(Node::Print(line, pipe(&tokens, 0)?)),
                    }
                }
            }
        }
        Ok((nodes, None))
    }

    /// Reads `if` or `with`, the first of `tokens`, with all its branches.
    fn condition(&mut self, tokens: &[Token]) -> Result<Node, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        let (line, rebind) = (self.line, word(tokens) == Some("with"));
        let pipe = pipe(&tokens[1..], 0)?;
        let (then, end) = self.block()?;
        let end = end.ok_or(Fault::EndOfText)?;
        let other = match end.as_slice() {
            [Token::Word(word)] if word == "end" => Vec::new(),
            [Token::Word(word)] if word == "else" => {
                let (other, end) = self.block()?;
                let end = end.ok_or(Fault::EndOfText)?;
                if word_only(&end) != Some("end") {
                    return Err(Fault::Unexpected(shown(&end)));
                }
                other
            }
            [Token::Word(first), rest @ ..] if first == "else" && is_condition(rest) => {
                vec![self.condition(rest)?]
            }
            other => return Err(Fault::Unexpected(shown(other))),
        };
        self.depth -= 1;
        Ok(Node::If { line, pipe, rebind, then, other })
    }
}

fn word(tokens: &[Token]) -> Option<&str> {
    match tokens.first() {
        Some(Token::Word(word)) => Some(word),
        _ => None,
    }
}

fn word_only(tokens: &[Token]) -> Option<&str> {
    word(tokens).filter(|_| tokens.len() == 1)
}

fn is_condition(tokens: &[Token]) -> bool {
    matches!(word(tokens), Some("if" | "with"))
}

fn shown(tokens: &[Token]) -> String {
    format!("{{{{{}}}}}", word(tokens).unwrap_or("…"))
}

fn pipe(tokens: &[Token], depth: usize) -> Result<Pipe, Fault> {
    let mut rest = tokens;
    let pipe = commands(&mut rest, depth)?;
    match rest {
        [] => Ok(pipe),
        _ => Err(Fault::Unexpected("right paren".to_owned())),
    }
}

/// Reads up to the end or a closing parenthesis, which stays.
fn commands(rest: &mut &[Token], depth: usize) -> Result<Pipe, Fault> {
    let mut pipe = vec![Vec::new()];
    while let Some((first, after)) = rest.split_first() {
        let operand = match first {
            Token::Close(_) => break,
            Token::Bar => {
                *rest = after;
                pipe.push(Vec::new());
                continue;
            }
            Token::Open => {
                if depth >= DEPTH_MAX {
                    return Err(Fault::TooDeep);
                }
                *rest = after;
                let inner = commands(rest, depth + 1)?;
                let Some((Token::Close(fields), after)) = rest.split_first() else {
                    return Err(Fault::Unexpected("unclosed left paren".to_owned()));
                };
                *rest = after;
                pipe.last_mut()
                    .expect("begins with one")
                    .push(Operand::Pipe(inner, fields.clone()));
                continue;
            }
            Token::Field(fields) => Operand::Field(fields.clone()),
            Token::Root(fields) => Operand::Root(fields.clone()),
            Token::Text(text) => Operand::Text(text.clone()),
            Token::Number(number) => Operand::Number(*number),
            Token::Word(word) => named(word)?,
        };
        *rest = after;
        pipe.last_mut().expect("begins with one").push(operand);
    }
    let empty = pipe.iter().any(Vec::is_empty);
    if empty { Err(Fault::MissingValue) } else { Ok(pipe) }
}

fn named(word: &str) -> Result<Operand, Fault> {
    match word {
        "true" => return Ok(Operand::Truth(true)),
        "false" => return Ok(Operand::Truth(false)),
        _ => {}
    }
    if LEFT_OUT.contains(&word) {
        return Err(Fault::NotSupported(format!("{{{{{word}}}}}")));
    }
    let known = FUNCTIONS.iter().find(|known| **known == word);
    known.map(|known| Operand::Function(known)).ok_or_else(|| Fault::NoFunction(word.to_owned()))
}
