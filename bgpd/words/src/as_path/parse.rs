//! From a pattern's text to its tree.

use super::{BadWord, Class, Node, decimal};

const MAX_LEN: usize = 1000;
const MAX_DEPTH: usize = 16;
const MAX_TIMES: u32 = 255;

pub(super) fn read(text: &str) -> Result<Node, BadWord> {
    if text.trim().is_empty() {
        return Err(BadWord::new("says nothing; write ^$ for the empty path, .* for every path"));
    }
    if text.len() > MAX_LEN {
        return Err(BadWord::new(format!("is longer than {MAX_LEN} characters")));
    }
    let mut reader = Reader { text, at: 0, depth: 0 };
    let node = reader.any()?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.wrong("closes a group that nothing opens")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn wrong(&self, why: &str) -> BadWord {
        BadWord::new(format!("{why}, at its character {}", self.at + 1))
    }

    fn any(&mut self) -> Result<Node, BadWord> {
        let mut choices = vec![self.all()?];
        while self.skip("|") {
            choices.push(self.all()?);
        }
        match choices.len() {
            1 => Ok(choices.remove(0)),
            _ => Ok(Node::Any(choices)),
        }
    }

    fn all(&mut self) -> Result<Node, BadWord> {
        let mut nodes = Vec::new();
        loop {
            match self.peek() {
                None | Some('|' | ')') => return Ok(Node::All(nodes)),
                // AS numbers are whole here: what stands between them says nothing more.
                Some('_' | ' ') => self.at += 1,
                Some(_) => {
                    let atom = self.atom()?;
                    nodes.push(self.times(atom)?);
                }
            }
        }
    }

    fn atom(&mut self) -> Result<Node, BadWord> {
        if self.skip("[0-9]+") || self.skip("[0-9]{1,}") || self.skip(".") {
            return Ok(Node::One(Class { ranges: Vec::new(), negated: true }));
        }
        if self.skip("[0-9]*") {
            let any = Node::One(Class { ranges: Vec::new(), negated: true });
            return Ok(Node::Times(Box::new(any), 0, Some(1)));
        }
        if self.skip("^") {
            return Ok(Node::Start);
        }
        if self.skip("$") {
            return Ok(Node::End);
        }
        if self.skip("(") {
            return self.group();
        }
        if self.skip("[") {
            return self.class();
        }
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                let range = self.range()?;
                Ok(Node::One(Class { ranges: vec![range], negated: false }))
            }
            Some('*' | '+' | '?' | '{') => Err(self.wrong("repeats nothing")),
            Some(c) => Err(self.wrong(&format!("has {c:?}, which says nothing about AS numbers"))),
            None => Err(self.wrong("ends too early")),
        }
    }

    fn group(&mut self) -> Result<Node, BadWord> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("has too many groups in each other"));
        }
        let node = self.any()?;
        self.depth -= 1;
        if self.skip(")") { Ok(node) } else { Err(self.wrong("has a group without its )")) }
    }

    fn class(&mut self) -> Result<Node, BadWord> {
        let negated = self.skip("^");
        let mut ranges = Vec::new();
        loop {
            match self.peek() {
                Some(' ' | ',' | '_') => self.at += 1,
                Some(']') => {
                    self.at += 1;
                    break;
                }
                Some(c) if c.is_ascii_digit() => ranges.push(self.range()?),
                _ => return Err(self.wrong("has a [ without its ]")),
            }
        }
        if ranges.is_empty() {
            return Err(self.wrong("has a [ ] with no AS number in it"));
        }
        if ranges == [(0, 9)] {
            return Err(self.wrong(
                "has [0-9], a digit; patterns are about whole AS numbers, so write . for any",
            ));
        }
        Ok(Node::One(Class { ranges, negated }))
    }

    fn range(&mut self) -> Result<(u32, u32), BadWord> {
        let least = self.number()?;
        let most = if self.skip("-") { self.number()? } else { least };
        if most < least {
            return Err(self.wrong("has a range that ends before it begins"));
        }
        // 6500[1-5] is about digits.
        if self.peek() == Some('[') {
            return Err(self.wrong(
                "goes on within an AS number; write a range such as 65001-65005, or a blank",
            ));
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Result<u32, BadWord> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest.get(..end).unwrap_or_default();
        let number = decimal(digits)
            .ok_or_else(|| self.wrong(&format!("has {digits:?}, which is no AS number")))?;
        self.at += end;
        Ok(number)
    }

    fn times(&mut self, node: Node) -> Result<Node, BadWord> {
        let (least, most) = if self.skip("*") {
            (0, None)
        } else if self.skip("+") {
            (1, None)
        } else if self.skip("?") {
            (0, Some(1))
        } else if self.skip("{") {
            self.bounds()?
        } else {
            return Ok(node);
        };
        if matches!(node, Node::Start | Node::End) {
            return Err(self.wrong("repeats an end of the path"));
        }
        if matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return Err(self.wrong("repeats a repetition; put the first into ( )"));
        }
        Ok(Node::Times(Box::new(node), least, most))
    }

    fn bounds(&mut self) -> Result<(u32, Option<u32>), BadWord> {
        let least = self.number()?;
        let most = match (self.skip(","), self.peek()) {
            (false, _) => Some(least),
            (true, Some('}')) => None,
            (true, _) => Some(self.number()?),
        };
        if !self.skip("}") {
            return Err(self.wrong("has a { without its }"));
        }
        if most.unwrap_or(least) > MAX_TIMES || most.is_some_and(|most| most < least) {
            return Err(self.wrong("has bounds that make no sense"));
        }
        Ok((least, most))
    }
}
